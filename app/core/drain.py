"""A stop in order: first say that no more shall come, go on answering for a while, then let the server end.

The server's own handlers of signals are kept and called when that while is over, so this works in one process
and in each of several. A second signal ends at once.
"""

import asyncio
import logging
import multiprocessing
import signal
import threading
from collections.abc import Callable
from types import FrameType

log = logging.getLogger(__name__)


class Drain:
    """`draining` is true from the first SIGTERM or SIGINT on; the server is told `seconds` later."""

    def __init__(self, seconds: float) -> None:
        self.draining = False
        self._seconds = seconds
        self._servers: dict[int, object] = {}

    def install(self, loop: asyncio.AbstractEventLoop, at_once: Callable[[], None]) -> None:
        """Put itself in front of the handlers that the server has; does nothing outside the main thread.

        `at_once` is called at the second signal.
        """
        if threading.current_thread() is not threading.main_thread():
            return
        self._loop, self._at_once = loop, at_once
        self._servers = {n: signal.signal(n, self._signalled) for n in (signal.SIGTERM, signal.SIGINT)}
        if multiprocessing.parent_process() is not None:
            # Ctrl-C reaches every process of the terminal; the parent tells each of its own once.
            signal.signal(signal.SIGINT, signal.SIG_IGN)

    def _signalled(self, number: int, _frame: FrameType | None) -> None:
        # The handler itself does next to nothing: it runs in the middle of anything, a log line for one.
        self._loop.call_soon_threadsafe(self._end if self.draining else self._begin, number)
        self.draining = True

    def _begin(self, number: int) -> None:
        log.info("draining for %g s on %s", self._seconds, signal.Signals(number).name)
        self._loop.call_later(self._seconds, self._tell_server, number)

    def _end(self, _number: int) -> None:
        log.warning("a second signal: ending at once")
        self._at_once()
        self._tell_server(signal.SIGINT)
        self._tell_server(signal.SIGINT)  # uvicorn waits for nobody after its second SIGINT

    def _tell_server(self, number: int) -> None:
        handler = self._servers[number]
        if callable(handler):
            handler(number, None)
