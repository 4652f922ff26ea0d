"""The service itself: the audit, the tiers of a server, its health."""

from typing import Any

from app.api.schemas.audit import AuditOut
from app.api.schemas.serving import ServingState
from app.client.call import ADMIN, Call, at, many, one


def audit(
    *,
    channel: str | None = None,
    action: str | None = None,
    before: int | None = None,
    limit: int = 100,
) -> Call[list[AuditOut]]:
    """Who did what, newest first; `before` an id: the next page. The platform's operator sees all acts."""
    query = {"channel": channel, "action": action, "before": before, "limit": limit}
    return Call("GET", at(ADMIN, "audit"), many(AuditOut), query=query)


def serving() -> Call[ServingState]:
    """The tiers and the queue of one server process (platform operator)."""
    return Call("GET", at(ADMIN, "serving"), one(ServingState), of_tenant=False)


def ready() -> Call[dict[str, Any]]:
    """Whether every champion is loaded and the database answers; else a 503 whose `extra` says why not."""
    return Call("GET", "/health/ready", one(dict[str, Any]), of_tenant=False, retried=False)
