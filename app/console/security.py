"""What a browser is told about the console's pages, and how a forged request is told from a real one."""

import hashlib
import hmac
import re
import secrets
from typing import Any

from fastapi import Request
from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.core.errors import Forbidden
from app.store.tenants import SESSION_PREFIX

COOKIE = "transrec_session"
PATH = "/admin"
CSRF_HEADER = "X-CSRF-Token"
SAFE = {"GET", "HEAD"}
_TOKEN = re.compile(rf"{SESSION_PREFIX}[A-Za-z0-9_-]{{1,128}}")
HEADERS = {
    # Everything comes from here; nothing inline runs, and nobody frames a page.
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
    "img-src 'self' data:; connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
}
"""What every answer to a browser carries."""


class SecurityHeaders:
    """ASGI middleware that adds the headers above; what is not a static file is never stored by a browser."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on."""

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers[name] = value
                headers.setdefault("Cache-Control", "no-store")
            await send(message)

        await self.app(scope, receive, with_headers)


def session_of(request: Request) -> str | None:
    """The session's token, if the cookie holds one: never a key, which would not end after some hours."""
    token = request.cookies.get(COOKIE, "")
    return token if _TOKEN.fullmatch(token) else None


def csrf_token(session: str, salt: str | None = None) -> str:
    """What a page must send back with every act: only a page of this session can know it.

    Every page has another one, so that the sizes of compressed pages say nothing about it (BREACH).
    """
    salt = salt or secrets.token_hex(16)
    return f"{salt}.{hashlib.sha256(f'csrf:{salt}:{session}'.encode()).hexdigest()}"


def check_same_origin(request: Request) -> None:
    """Raise `Forbidden` for what another site made a browser send; other programs do not say."""
    site, origin = request.headers.get("Sec-Fetch-Site"), request.headers.get("Origin")
    if site is not None:
        same = site == "same-origin"
    else:
        same = origin is None or origin.partition("://")[2] == request.headers.get("Host")
    if not same:
        raise Forbidden("This came from another site. Open the console itself and try again.")


def check_csrf(request: Request, session: str) -> None:
    """Raise `Forbidden` unless the request came from a page of this session."""
    check_same_origin(request)
    sent = request.headers.get(CSRF_HEADER, "")
    expected = csrf_token(session, sent.partition(".")[0])
    # As bytes: compare_digest raises on text that is not ASCII.
    if not hmac.compare_digest(sent.encode(), expected.encode()):
        raise Forbidden("This page is of an older session. Reload it and try again.")


def cookie(request: Request, max_age: int) -> dict[str, Any]:
    """How the session's cookie is set: no script reads it, no other site sends it."""
    secure = request.url.scheme == "https"
    return {
        "key": COOKIE,
        "path": PATH,
        "httponly": True,
        "samesite": "strict",
        "secure": secure,
        "max_age": max_age,
    }
