"""HTTP/1.1 over a keep-alive connection, as little of it as the service needs.

One request a connection at a time, ready-made bytes, callbacks in place of futures: the client must cost less
than the empty handler that it measures.
"""

import asyncio
import re
import time
from collections.abc import Callable, Hashable
from typing import NamedTuple, cast

from tests.benchmarks.load.result import LOST

HOST = "127.0.0.1"
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
clock = time.perf_counter  # not the loop's own time, which stands still within one turn of the loop


class Request(NamedTuple):
    """A whole request as bytes, and what a check knows it by."""

    data: bytes
    name: Hashable = None


Answered = Callable[["Connection", int, bytes], None]


class Connection(asyncio.Protocol):
    """A connection with at most one request under way; every request comes back by `answered`, once."""

    def __init__(self, answered: Answered) -> None:
        self.answered = answered
        self.transport: asyncio.Transport | None = None
        self.request: Request | None = None
        self.due = self.used = 0.0
        self.closed = False
        self._received = b""

    def send(self, request: Request, due: float) -> None:
        """Send now, or as soon as the connection is made; `due`: from when its latency counts."""
        self.request, self.due = request, due
        if self.transport is not None:
            self.transport.write(request.data)

    def close(self) -> None:
        """End it."""
        if self.transport is not None:
            self.transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Send what waits for the connection."""
        self.transport = cast(asyncio.Transport, transport)
        if self.request is not None:
            self.transport.write(self.request.data)

    def data_received(self, data: bytes) -> None:
        """Collect until an answer is whole. All answers of the service have a Content-Length."""
        data = self._received + data if self._received else data
        end = data.find(b"\r\n\r\n")
        if end >= 0:
            found = _LENGTH.search(data, 0, end)
            total = end + 4 + (int(found[1]) if found else 0)
            if len(data) >= total:
                self._received = b""
                self._finish(int(data[9:12]), data[end + 4 : total])
                return
        self._received = data

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's
        """A request that was under way gets no answer."""
        self.closed = True
        self._finish(LOST, b"")

    def _finish(self, status: int, body: bytes) -> None:
        if self.request is not None:
            self.answered(self, status, body)


async def ask(port: int, request: Request, seconds: float = 60) -> tuple[int, bytes]:
    """One request over a connection of its own -> status and body, for what is done beside a load."""
    loop = asyncio.get_running_loop()
    answer: asyncio.Future[tuple[int, bytes]] = loop.create_future()

    def answered(connection: Connection, status: int, body: bytes) -> None:
        connection.request = None
        if not answer.done():
            answer.set_result((status, body))

    connection = Connection(answered)
    connection.send(request, clock())
    await loop.create_connection(lambda: connection, HOST, port)
    try:
        return await asyncio.wait_for(answer, seconds)
    finally:
        connection.close()
