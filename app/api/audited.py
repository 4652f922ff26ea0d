"""The audit of the control plane: `APIRouter(..., route_class=Audited)` is all that a router does for it."""

import hashlib
import json
import logging
from collections.abc import Callable, Coroutine
from typing import Any

from fastapi import Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from app.api.door import authenticated, secret_of
from app.core.errors import TransRecError
from app.core.log import redact
from app.core.request import facts
from app.store import audit
from app.store.audit import Act
from app.store.db import Database

log = logging.getLogger(__name__)
MAX_BODY = 4096  # bytes of a body that are kept
MAX_NAME = 128  # characters of what names something
_TENANT_AND_CHANNEL = ("tenant", "channel")


class Audited(APIRoute):
    """A route whose acts are written down before they are done, and their outcome after.

    Acts are what changes something under /v1/admin, imports and deletions; other requests pass as they are.
    A wrong key is refused first. If the act cannot be written down, it is not done: 503.
    """

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """As FastAPI's, with the audit around it."""
        handler = super().get_route_handler()
        if not is_act(self.methods, self.path):
            return handler
        reads_json = self.body_field is not None

        async def handle(request: Request) -> Response:
            detail, unread = await _detail(request, reads_json)
            entry_id = await run_in_threadpool(_begin, request, self.name, detail)
            try:
                if unread is not None:
                    raise unread  # the body cannot be read twice
                response = await handler(request)
            except Exception as error:
                await run_in_threadpool(_complete, request, entry_id, _status(error))
                raise
            await run_in_threadpool(_complete, request, entry_id, response.status_code)
            return response

        return handle


def is_act(methods: set[str] | None, path: str) -> bool:
    """Whether a route is one of those that are audited."""
    if methods == {"GET"}:
        return False
    return (
        path.startswith("/v1/admin/") or path.endswith(("/imports", "/delete")) or "DELETE" in (methods or ())
    )


def _begin(request: Request, action: str, detail: dict[str, Any]) -> int:
    db: Database = request.app.state.db
    with db.read() as s:  # strangers must not take the write lock
        who = authenticated(request, s, secret_of(request))
    path = request.path_params
    tenant = path.get("tenant") or request.query_params.get("tenant")
    act = Act(action, _bounded(path.get("channel")), detail, facts().get("request_id"))
    with db.session() as s:
        return audit.begin(s, who, tenant, act)


def _complete(request: Request, entry_id: int, status: int) -> None:
    db: Database = request.app.state.db
    try:
        with db.session() as s:
            audit.complete(s, entry_id, status)
    except TransRecError as error:
        # The act is done, and written down without an outcome: to say 503 now would be a lie.
        log.error("audit entry %d ended with %d, which could not be written: %s", entry_id, status, error)


async def _detail(request: Request, reads_json: bool) -> tuple[dict[str, Any], Exception | None]:
    """What is done to what: ids in the path, the query, a small JSON body; and why that cannot be read."""
    parts = {
        "target": {k: _named(k, v) for k, v in request.path_params.items() if k not in _TENANT_AND_CHANNEL},
        "query": {k: v for k, v in request.query_params.items() if k != "tenant"},
    }
    found: dict[str, Any] = {
        name: {k[:MAX_NAME]: _bounded(v) for k, v in list(values.items())[:20]}
        for name, values in parts.items()
        if values
    }
    unread = None
    try:
        found |= _body(await request.body()) if reads_json else {}
    except (HTTPException, ClientDisconnect) as error:
        unread = error
    # Half a surrogate pair could be stored as JSON, but never be sent again.
    text = json.dumps(found, ensure_ascii=False).encode(errors="replace").decode()
    return json.loads(redact(text)), unread


def _named(kind: str, name: object) -> str:
    """A user whose data were deleted is not found in the audit, but who knows the id can check."""
    return f"sha256:{hashlib.sha256(str(name).encode()).hexdigest()}" if kind == "user_id" else str(name)


def _body(body: bytes) -> dict[str, Any]:
    if not body:
        return {}
    if len(body) > MAX_BODY:
        return {"body_bytes": len(body)}
    try:
        return {"body": json.loads(body, parse_constant=_no_constant)}
    except (ValueError, RecursionError):
        return {"body": "no JSON"}


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def _bounded(value: object) -> str | None:
    return None if value is None else str(value)[:MAX_NAME]


def _status(error: Exception) -> int:
    if isinstance(error, TransRecError):
        return error.status
    if isinstance(error, HTTPException):
        return error.status_code
    return {RequestValidationError: 422, ClientDisconnect: 400}.get(type(error), 500)
