"""The audit log."""

from datetime import datetime
from typing import Any

from pydantic import Field

from app.api.schemas.base import Answer


class AuditOut(Answer):
    """An act of the control plane: who did what to what, and how it ended."""

    id: int
    at: datetime
    tenant_id: str | None
    tenant: str | None = Field(description="Its name; null where it is gone, or there is none.")
    channel: str | None
    action: str = Field(examples=["promote"])
    detail: dict[str, Any] = Field(description="`target`: ids in the path; `query`; a small JSON `body`.")
    actor: str = Field(description="The key's id.")
    actor_label: str
    request_id: str | None
    status: int | None = Field(
        description="The HTTP status; null: under way, or the process ended before it."
    )
