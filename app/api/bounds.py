"""Bounds on what a request may bring: bytes of a JSON body, and no NUL in an address."""

import asyncio
from contextlib import suppress
from http import HTTPStatus

from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

MAX_JSON_BYTES = 1024**2
MAX_FORM_BYTES = 64 * 1024  # of the console; to decode a MiB of %41 takes most of a second
# These count for themselves, against the settings. By method: an item's id may end so, too.
UPLOADS = {"POST": ("/imports", "/adapters"), "PUT": ("/image",)}


LINGER_SECONDS, LINGER_BYTES = 5.0, 32 * 1024**2


class Bounds:
    """ASGI middleware that ends the reading of a body with a 413: at 1 MiB, of a form at 64 KiB; uploads not.

    After any 413 it reads on for a while, and throws away what comes. A connection that is closed with
    bytes unread is reset, and a proxy or client that still sends may then lose the answer (RFC 9112, 9.6).
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on with a counted body."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        if "\0" in scope["path"] or b"%00" in scope["query_string"]:
            # No database stores it, and PostgreSQL fails on it: such a thing is nowhere.
            scope = {**scope, "path": "/nul", "raw_path": b"/nul", "query_string": b""}
        bounded = not scope["path"].endswith(UPLOADS.get(scope["method"], ()))
        counted = _counted(receive, MAX_FORM_BYTES if _is_form(scope) else MAX_JSON_BYTES, _declared(scope))
        await self.app(scope, counted if bounded else receive, _lingering(receive, send))


def _is_form(scope: Scope) -> bool:
    kind = next((value for name, value in scope["headers"] if name == b"content-type"), b"")
    # curl says so of anything, hence the path.
    return scope["path"].startswith("/admin/") and b"urlencoded" in kind.lower()


def _declared(scope: Scope) -> int:
    """The length that the request says, 0 where it says none."""
    value = next((value for name, value in scope["headers"] if name == b"content-length"), b"")
    return int(value) if value.isdigit() else 0


def _counted(receive: Receive, most: int, declared: int) -> Receive:
    total = 0

    async def counted() -> Message:
        nonlocal total
        message = await receive()
        total += len(message.get("body", b""))
        # Also by what is said to come: else a parser might find something else wrong with the first piece.
        if max(total, declared) > most:
            # FastAPI passes this kind of error on, while it reads a body.
            raise HTTPException(413, f"The body has more than {most} bytes. Send less at once.")
        return message

    return counted


def _lingering(receive: Receive, send: Send) -> Send:
    status = 0

    async def lingering(message: Message) -> None:
        nonlocal status
        status = message.get("status", status)
        last = message["type"] == "http.response.body" and not message.get("more_body", False)
        if status != HTTPStatus.REQUEST_ENTITY_TOO_LARGE or not last:
            await send(message)
            return
        await send({**message, "more_body": True})  # the whole answer, while the connection stays open
        with suppress(TimeoutError):
            async with asyncio.timeout(LINGER_SECONDS):
                await _discard(receive)
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    return lingering


async def _discard(receive: Receive) -> None:
    total, more = 0, True
    while more and total < LINGER_BYTES:
        message = await receive()
        total, more = total + len(message.get("body", b"")), message.get("more_body", False)
