"""Two servers over a PostgreSQL and a Valkey that tests take away; what recovery took, in the summary."""

import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest

from tests.app.api.conftest import Shop, client, new_shop
from tests.servers import Postgres, Service, Valkey
from tests.training.conftest import chains
from training.demo import interactions_csv, items_csv
from training.sources import Source

OPERATOR = "tr_operator-of-the-platform"
THINGS = Source("things", *chains(), {})
ITEMS, EVENTS = items_csv(THINGS), interactions_csv(THINGS)
BOOKS = "/v1/channels/books"
ADMIN = "/v1/admin/channels/books"
MAX_UPLOAD_BYTES, MAX_ADAPTER_BYTES = 32 * 1024**2, 8 * 1024**2
FIT = {"learning_rate": 5e-3, "batch_users": 16, "max_epochs": 8, "patience": 8, "checkpoint_seconds": 0}
JOB = {"adapter": {"bottleneck": 8, "user_bottleneck": 8}, "fit": FIT}
Recovery = Callable[[str], AbstractContextManager[None]]


@dataclass(frozen=True)
class World:
    """Two servers, `a` and `b`, each with a home of its own as on two machines, over one database."""

    postgres: Postgres
    valkey: Valkey
    settings: dict[str, str]
    a: Service
    b: Service


@pytest.fixture(scope="session")
def folder() -> Iterator[Path]:
    """A folder with a short path, for the sake of sockets, that PostgreSQL's user may enter."""
    made = Path(tempfile.mkdtemp(prefix="transrec-faults-"))
    made.chmod(0o755)
    yield made
    shutil.rmtree(made, ignore_errors=True)


@pytest.fixture(scope="session")
def valkey(folder: Path) -> Iterator[Valkey]:
    """A Valkey of its own."""
    server = Valkey(folder / "valkey")
    yield server
    server.close()


@pytest.fixture(scope="session")
def postgres(folder: Path) -> Iterator[Postgres]:
    """A PostgreSQL of its own."""
    server = Postgres(folder / "postgres")
    yield server
    server.close()


@pytest.fixture(scope="session")
def settings(backbone_folder: Path, valkey: Valkey, folder: Path) -> dict[str, str]:
    """What all processes have in common; the database is still to be named."""
    temporary = folder / "temporary"
    temporary.mkdir()
    return {
        "TMPDIR": str(temporary),
        "TRANSREC_REDIS_URL": valkey.url,
        "TRANSREC_BACKBONE": str(backbone_folder),
        "TRANSREC_DEVICE": "cpu",
        "TRANSREC_OPERATOR_KEY": OPERATOR,
        "TRANSREC_MAX_UPLOAD_BYTES": str(MAX_UPLOAD_BYTES),
        "TRANSREC_MAX_ADAPTER_BYTES": str(MAX_ADAPTER_BYTES),
        "TRANSREC_LEASE_SECONDS": "2",
        "TRANSREC_POLL_SECONDS": "0.5",
    }


@pytest.fixture(scope="session")
def world(postgres: Postgres, valkey: Valkey, settings: dict[str, str], folder: Path) -> Iterator[World]:
    """The two servers; a test that takes something away brings it back."""
    ours = {**settings, "TRANSREC_DATABASE_URL": postgres.url("world")}
    a, b = (Service(folder / name, ours) for name in ("a", "b"))
    try:
        a.start()  # the schema is made by one of them
        b.start()
        yield World(postgres, valkey, ours, a, b)
    finally:
        a.stop()
        b.stop()


@pytest.fixture
def shop(world: World) -> Iterator[Shop]:
    """A new tenant with a channel `books` that can be learned; its clients ask server `a`."""
    with open_shop(world.a.url) as opened:
        yield opened


@contextmanager
def open_shop(url: str) -> Iterator[Shop]:
    """The same at any server."""
    with client(url, OPERATOR) as platform, new_shop(url, platform, ITEMS, EVENTS) as opened:
        yield opened


def there(url: str, other: httpx.Client) -> httpx.Client:
    """A client with the same key at another server."""
    return client(url, other.headers["authorization"].removeprefix("Bearer "))


def ranked(reader: httpx.Client, **body: Any) -> list[str]:
    """The ids that are recommended; any other answer is an error."""
    answer = reader.post(f"{BOOKS}/recommendations", json={"count": 5, **body})
    assert answer.status_code == 200, answer.text
    return [item["item_id"] for item in answer.json()["items"]]


def interactions(reader: httpx.Client) -> int:
    """How many the channel has."""
    return int(reader.get(BOOKS).json()["interactions"])


def new_id() -> str:
    """An id that no other test has."""
    return f"new-{uuid4().hex[:8]}"


@pytest.fixture
def recovery(record_property: Callable[[str, object], None]) -> Recovery:
    """`with recovery("what"):` measures until the block ends; the summary of the run shows it."""

    @contextmanager
    def measured(what: str) -> Iterator[None]:
        started = time.monotonic()
        yield
        record_property("recovery", f"{what}: {time.monotonic() - started:.2f} s")

    return measured


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print what the tests measured."""
    for report in terminalreporter.getreports("passed"):
        for name, value in report.user_properties:
            if name == "recovery" and report.when == "call":
                terminalreporter.write_line(f"recovery: {value}")
