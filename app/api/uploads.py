"""Uploaded files: streamed, counted, hashed; gone when the block ends, however it ends."""

import fcntl
import hashlib
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from fastapi import Request
from starlette.concurrency import run_in_threadpool

from app.core.disk import writing
from app.core.errors import Invalid, TooLarge

PREFIX = "transrec-upload-"
RAW_BODY = {
    "requestBody": {
        "required": True,
        "content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}},
    }
}
"""For the OpenAPI description of a route that reads its body as it comes."""


@dataclass(frozen=True)
class Upload:
    """A received file and the sha256 of its bytes as they were sent."""

    path: Path
    sha256: str


@asynccontextmanager
async def received(request: Request, limit: int) -> AsyncIterator[Upload]:
    """Yield the body as a file; raises `TooLarge` above `limit` bytes, `Invalid` for an empty one, and
    `OutOfSpace` when the disk of the temporary files is full.
    """
    digest, total = hashlib.sha256(), 0
    with writing("The upload"), tempfile.NamedTemporaryFile(prefix=PREFIX) as file:
        fcntl.flock(file, fcntl.LOCK_EX)  # it is in use as long as its process lives

        def take(chunk: bytes) -> None:
            digest.update(chunk)
            file.write(chunk)

        async for chunk in request.stream():
            total = _count(total, chunk, limit)
            await run_in_threadpool(take, chunk)
        file.flush()
        if not total:
            raise Invalid("The body is empty. Send the file as the request's body.")
        yield Upload(Path(file.name), digest.hexdigest())


def remove_left_over() -> None:
    """Remove the uploads of servers that were killed."""
    for path in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
        with suppress(OSError), path.open("rb") as file:  # another user's, just gone, or in use
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            path.unlink()


async def read_body(request: Request, limit: int) -> bytes:
    """Return the body; raises `TooLarge` above `limit` bytes."""
    chunks: list[bytes] = []
    total = 0
    async for chunk in request.stream():
        total = _count(total, chunk, limit)
        chunks.append(chunk)
    return b"".join(chunks)


def _count(total: int, chunk: bytes, limit: int) -> int:
    total += len(chunk)
    if total > limit:
        raise TooLarge(f"The body has more than {limit} bytes. Split it, or ask for a higher limit.")
    return total
