"""The load generator: a closed loop or an open loop, in one process, on one core."""

import asyncio
import time
from collections import deque
from collections.abc import Callable, Sequence
from itertools import cycle
from typing import cast

import numpy as np
from numpy.typing import NDArray

from tests.benchmarks.load.connection import HOST, Connection, Request, clock
from tests.benchmarks.load.result import LOST, Result

IDLE_SECONDS = 4.0  # uvicorn closes a connection that idles for 5 s: one near that is not used again
DRAIN_SECONDS = 30.0  # how long the answers to requests under way are awaited at the end
Check = Callable[[Request, bytes], bool]
"""Whether the body of an answer is right."""


class _Load:
    """What both loops share: the connections, and the record of what came back."""

    def __init__(self, port: int, check: Check | None, check_every: int) -> None:
        self.port, self.check, self.check_every = port, check, check_every
        self.result = Result()
        self.busy = 0
        self.drained = asyncio.Event()
        self.idle: list[Connection] = []
        self._all: set[Connection] = set()
        self._opening: set[asyncio.Task[None]] = set()

    def next_request(self, now: float) -> tuple[Request, float] | None:
        """What a connection that has just become free sends, and since when that was due."""
        raise NotImplementedError

    def send(self, request: Request, due: float) -> None:
        """Send over an idle connection, or a new one."""
        self.busy += 1
        connection = self._idle()
        if connection is None:
            connection = Connection(self._answered)
            self._all.add(connection)
            task = asyncio.get_running_loop().create_task(self._open(connection))
            self._opening.add(task)
            task.add_done_callback(self._opening.discard)
        connection.send(request, due)

    def _idle(self) -> Connection | None:
        now = clock()
        while self.idle:
            connection = self.idle.pop()
            if not connection.closed and now - connection.used < IDLE_SECONDS:
                return connection
            connection.close()
            self._all.discard(connection)
        return None

    async def _open(self, connection: Connection) -> None:
        try:
            await asyncio.get_running_loop().create_connection(lambda: connection, HOST, self.port)
        except OSError:
            connection.connection_lost(None)

    def _answered(self, connection: Connection, status: int, body: bytes) -> None:
        now = connection.used = clock()
        request, connection.request = cast(Request, connection.request), None
        self.busy -= 1
        self._record(request, now - connection.due, status, body)
        following = self.next_request(now)
        if following is None:
            self.idle.append(connection)
        elif connection.closed:
            self.send(*following)
        else:
            self.busy += 1
            connection.send(*following)
        if not self.busy:
            self.drained.set()

    def _record(self, request: Request, latency: float, status: int, body: bytes) -> None:
        result = self.result
        if status != 200:
            result.errors[status] += 1
            return
        result.latencies.append(latency)
        if self.check is not None and len(result.latencies) % self.check_every == 0:
            result.wrong += not self.check(request, body)

    async def finish(self, start: float, cpu: float) -> Result:
        """Await the answers to what is under way, close the connections."""
        if self.busy:
            self.drained.clear()
            try:
                await asyncio.wait_for(self.drained.wait(), DRAIN_SECONDS)
            except TimeoutError:
                self.result.errors[LOST] += self.busy
        self.result.seconds = clock() - start
        self.result.cpu_seconds = time.process_time() - cpu
        result, self.result = self.result, Result()  # what comes back after this counts nowhere
        self._close()
        return result

    def _close(self) -> None:
        for connection in self._all:
            connection.close()


class _ClosedLoop(_Load):
    def __init__(self, requests: Sequence[Request], port: int, check: Check | None, every: int) -> None:
        super().__init__(port, check, every)
        self.feed = cycle(requests)
        self.end = 0.0

    def next_request(self, now: float) -> tuple[Request, float] | None:
        return (next(self.feed), now) if now < self.end else None


class _OpenLoop(_Load):
    def __init__(
        self, requests: Sequence[Request], port: int, check: Check | None, every: int, most: int
    ) -> None:
        super().__init__(port, check, every)
        self.feed, self.most = cycle(requests), most
        self.waiting: deque[tuple[Request, float]] = deque()

    def next_request(self, now: float) -> tuple[Request, float] | None:  # noqa: ARG002
        return self.waiting.popleft() if self.waiting else None

    def arrive(self, due: float) -> None:
        """An arrival; all connections being in use, it waits, and its latency goes on counting."""
        if self.busy < self.most:
            self.send(next(self.feed), due)
        else:
            self.result.late += 1
            self.waiting.append((next(self.feed), due))

    def give_up(self, now: float) -> None:
        """Nobody is sent any more who still waits for a connection."""
        self.result.unanswered += [now - due for _, due in self.waiting]
        self.waiting.clear()


async def closed_loop(
    port: int,
    requests: Sequence[Request],
    connections: int,
    seconds: float,
    check: Check | None = None,
    check_every: int = 1,
) -> Result:
    """Each connection sends its next request when the last is answered: for throughput."""
    load = _ClosedLoop(requests, port, check, check_every)
    start, cpu = clock(), time.process_time()
    load.end = start + seconds
    for _ in range(connections):
        load.send(next(load.feed), clock())
    await asyncio.sleep(seconds)
    return await load.finish(start, cpu)


async def open_loop(
    port: int,
    requests: Sequence[Request],
    rate: float,
    seconds: float,
    check: Check | None = None,
    check_every: int = 1,
    connections: int = 512,
    seed: int | None = None,
) -> Result:
    """Poisson arrivals, `rate` a second, whether or not earlier ones are answered: for latency.

    Latency counts from the moment that was drawn for the arrival, so whatever delays the sending is in it.
    """
    load = _OpenLoop(requests, port, check, check_every, connections)
    start, cpu = clock(), time.process_time()
    for due in (start + arrivals(rate, seconds, seed)).tolist():
        # The loop's timer has whole milliseconds, so half of one is added on average: the empty handler under
        # the same load shows it. Turning until the moment comes would take the core away from the service.
        while (left := due - clock()) > 0:
            await asyncio.sleep(left)
        load.arrive(due)
    await asyncio.sleep(max(0.0, start + seconds - clock()))
    load.give_up(clock())
    return await load.finish(start, cpu)


def arrivals(rate: float, seconds: float, seed: int | None) -> NDArray[np.float64]:
    """Seconds of the arrivals of a Poisson process within `seconds`."""
    rng = np.random.default_rng(seed)
    return np.sort(rng.uniform(0, seconds, rng.poisson(rate * seconds)))
