"""Processes that `transrec serve` runs: a child that is restarted when it dies, and the HTTP server."""

import logging
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import FrameType

import uvicorn
from uvicorn.supervisors import Multiprocess

from app.core import siblings
from app.core.errors import Misconfigured, TransRecError

log = logging.getLogger(__name__)

APPLICATION = "app.main:app_factory"
WORKER = (sys.executable, "-m", "training.worker")  # by name: `app` never imports `training`
STOP_SECONDS = 30  # a worker that stops writes a checkpoint first
IN_FLIGHT_SECONDS = 10  # for requests in flight at a stop; a stalled client must not hold up the rest
HURRY = threading.Event()  # somebody asked a second time to stop: nobody is waited for any more
FIRST_DELAY, LONGEST_DELAY = 1.0, 30.0
HEALTHY_SECONDS = 60.0  # a child that lived this long did not fail at its start


@contextmanager
def stopped_by_signals() -> Iterator[None]:
    """Turn SIGTERM, SIGINT and SIGHUP into SystemExit, so that every block on the way out cleans up.

    A second one ends the wait for child processes.
    """
    stopping = False

    def stop(number: int, _frame: FrameType | None) -> None:
        nonlocal stopping
        if stopping:
            HURRY.set()
            return
        stopping = True
        log.info("stopping on %s", signal.Signals(number).name)
        sys.exit(0)

    before = {s: signal.signal(s, stop) for s in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def kept_running(command: Sequence[str]) -> Iterator[None]:
    """Run a command while the block runs; whenever it ends, it is started again, each time a bit later."""
    stopping = threading.Event()
    thread = threading.Thread(target=_keep_running, args=(command, stopping), name="supervisor")
    thread.start()
    try:
        yield
    finally:
        stopping.set()
        thread.join()


def _keep_running(command: Sequence[str], stopping: threading.Event) -> None:
    delay = FIRST_DELAY
    while not stopping.is_set():
        started = time.monotonic()
        # A session of its own: Ctrl-C reaches this process alone, which then stops the child in order.
        child = subprocess.Popen(command, start_new_session=True)  # noqa: S603 - our own command
        while child.poll() is None and not stopping.wait(0.2):
            pass
        if stopping.is_set():
            _stop(child)
            return
        delay = FIRST_DELAY if time.monotonic() - started > HEALTHY_SECONDS else delay
        log.warning("process %d ended with %s; again in %.0f s", child.pid, child.returncode, delay)
        stopping.wait(delay)
        delay = min(2 * delay, LONGEST_DELAY)


def _stop(child: subprocess.Popen[bytes]) -> None:
    child.terminate()
    end = time.monotonic() + STOP_SECONDS
    while child.poll() is None and time.monotonic() < end and not HURRY.wait(0.1):
        pass
    if child.poll() is None:
        log.warning("process %d has not stopped and is killed", child.pid)
        child.kill()
        child.wait()


def listen(host: str, port: int) -> socket.socket:
    """Bind the address; port 0 takes a free one. Raises `Misconfigured` when it cannot be had."""
    try:
        return socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
    except OSError as error:
        raise Misconfigured(
            f"Cannot listen on {host}:{port}: {error.strerror or error}. "
            "Stop what uses that address, or choose another with --host and --port."
        ) from error


def serve_http(listening: socket.socket, processes: int) -> None:
    """Answer HTTP on the socket until a signal; more than one process each load the model.

    Raises `TransRecError` when the application did not start; its reason is in the log.
    """
    # The application logs by itself (log_config=None). Loading a backbone takes longer than 5 s.
    config = uvicorn.Config(
        APPLICATION,
        factory=True,
        workers=processes,
        log_config=None,
        access_log=False,  # a line a request would cost a third of a request
        timeout_worker_healthcheck=60,
        timeout_graceful_shutdown=IN_FLIGHT_SECONDS,
    )
    if processes > 1:
        with _siblings():
            _Processes(config, sockets=[listening]).run()
        return
    server = uvicorn.Server(config)
    try:
        server.run(sockets=[listening])
    finally:
        if server.force_exit:
            HURRY.set()
    if not server.started:
        raise TransRecError("The application did not start. Read the last lines of the log for the reason.")


class _Processes(Multiprocess):
    """uvicorn's, which passes a second signal on to processes that are still draining."""

    def join_all(self) -> None:
        """Wait until all have ended."""
        self.signal_queue.clear()
        while any(process.process.is_alive() for process in self.processes):
            if self.signal_queue:
                self.signal_queue.clear()
                HURRY.set()
                self.terminate_all()
            time.sleep(0.1)
        super().join_all()


@contextmanager
def _siblings() -> Iterator[None]:
    """A folder where the API processes find each other, known to those that are started meanwhile."""
    with tempfile.TemporaryDirectory(prefix="transrec-") as folder:
        os.environ[siblings.FOLDER] = folder
        try:
            yield
        finally:
            del os.environ[siblings.FOLDER]
