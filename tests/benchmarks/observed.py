"""CPU that the outermost middleware (ids, metrics, log) adds to a request; with and without it in turn.

python -m tests.benchmarks.observed
"""

import asyncio
import statistics
import time
from types import SimpleNamespace

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.api.observed import Observed
from app.core.drain import Drain

REQUESTS, ROUNDS = 20_000, 15
ROUTE = SimpleNamespace(path="/v1/channels/{channel}/recommendations")
HEADERS = [
    (name, b"a value of some length")
    for name in (b"host", b"accept", b"accept-encoding", b"user-agent", b"authorization", b"content-type")
]


async def bare(scope: Scope, _receive: Receive, send: Send) -> None:
    """Answer at once."""
    scope["route"] = ROUTE
    headers = [(b"content-type", b"application/json")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": b"{}"})


async def _receive() -> Message:
    return {"type": "http.request", "body": b""}


async def _send(_message: Message) -> None:
    """Take it."""


async def _microseconds(app: ASGIApp) -> float:
    started = time.process_time()
    for _ in range(REQUESTS):
        await app({"type": "http", "method": "POST", "path": "/", "headers": HEADERS}, _receive, _send)
    return (time.process_time() - started) / REQUESTS * 1e6


async def main() -> None:
    """Print the difference."""
    observed = Observed(bare, "slow", Drain(0))
    await _microseconds(observed)
    added = [-(await _microseconds(bare)) + await _microseconds(observed) for _ in range(ROUNDS)]
    print(f"{statistics.median(added):.1f} us a request ({min(added):.1f} to {max(added):.1f})")


if __name__ == "__main__":
    asyncio.run(main())
