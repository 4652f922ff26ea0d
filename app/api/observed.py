"""The outermost middleware: gives each request an id, counts and times it, and logs it where asked to."""

import logging
import time
from typing import Literal

from opentelemetry.trace import get_current_span
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.core import metrics, request
from app.core.drain import Drain

log = logging.getLogger(__name__)
AccessLog = Literal["slow", "all", "off"]
SLOW_SECONDS = 1.0
UNMATCHED = "unmatched"
INSIDE = "transrec.inside"
"""In the scope of what a request asks in this process: it is part of that request, and not one of its own."""
_METHODS = {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"}  # else a label could be anything
_CLOSE = (b"connection", b"close")


class Observed:
    """ASGI middleware; plain, for it is part of every request's time."""

    def __init__(self, app: ASGIApp, access_log: AccessLog, drain: Drain) -> None:
        self.app, self.drain = app, drain
        self._all, self._off = access_log == "all", access_log == "off"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on."""
        if scope["type"] != "http" or INSIDE in scope:
            await self.app(scope, receive, send)
            return
        started, status = time.perf_counter(), 500  # what raises is answered so, further out
        request_id = _begin(scope)

        async def observed(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = [*message.get("headers", ()), (b"x-request-id", request_id.encode())]
                if self.drain.draining:
                    headers.append(_CLOSE)  # so that a keep-alive client connects elsewhere
                message["headers"] = headers
            await send(message)

        metrics.IN_FLIGHT.inc()
        try:
            await self.app(scope, receive, observed)
        finally:
            metrics.IN_FLIGHT.dec()
            self._done(scope, status, time.perf_counter() - started)

    def _done(self, scope: Scope, status: int, seconds: float) -> None:
        method = scope["method"] if scope["method"] in _METHODS else "OTHER"
        route = _route(scope)
        metrics.answered(method, route, status, seconds)
        bad = status >= 500 or seconds > SLOW_SECONDS
        if self._off or not (bad or self._all):
            return
        extra = {"method": method, "route": route, "status": status, "ms": round(1000 * seconds, 1)}
        log.log(logging.WARNING if bad else logging.INFO, "%s %s: %d", method, route, status, extra=extra)


def _route(scope: Scope) -> str:
    """The route's template, with where its application is mounted: a label with few values, never a path."""
    path = getattr(scope.get("route"), "path", None)
    if path is None:
        return UNMATCHED
    root = scope.get("root_path", "")
    return str(root.removeprefix(scope.get("app_root_path", root)) + path)


def _begin(scope: Scope) -> str:
    asked = next((value for name, value in scope["headers"] if name == b"x-request-id"), b"")
    request_id = request.begin(asked.decode("latin-1"))
    if "fastapi.telemetry" in scope:  # the request is traced
        request.note(trace_id=format(get_current_span().get_span_context().trace_id, "032x"))
    return request_id
