"""The server is killed in an import or in a build: rows and releases are whole or not there."""

import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import httpx
import psycopg
import pytest

from app.serving.release import open_bundle
from tests.app.api.conftest import Shop, spare_file
from tests.faults.conftest import BOOKS, Recovery, interactions, open_shop, ranked
from tests.servers import Postgres, Service, wait_for

ROWS = 60_000
MANY = "user_id,item_id,timestamp\n" + "".join(f"v{n},i{n % 24:02d},{n}\n" for n in range(ROWS))
WORDS = "abcdefghijklmnopqrstuvwxyz"
NEW_ITEMS = "item_id,text\n" + "".join(
    f"n{n:05d},{' '.join(WORDS[n // 26**k % 26] for k in range(3))} {n}\n" for n in range(6_000)
)


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def service(
    request: pytest.FixtureRequest, postgres: Postgres, settings: dict[str, str], folder: Path
) -> Iterator[tuple[Service, Callable[[], bool]]]:
    """A server on its own database, and how to ask whether it is in the middle of an import."""
    home = folder / request.param
    with ExitStack() as stack:
        if request.param == "sqlite":
            own, in_import = {}, lambda: (home / "transrec.db-wal").stat().st_size > 2**20
        else:
            own = {"TRANSREC_DATABASE_URL": postgres.url("killed")}
            watching = stack.enter_context(psycopg.connect(postgres.uri, autocommit=True))
            query = "SELECT 1 FROM pg_stat_activity WHERE query LIKE 'INSERT INTO interactions%'"
            in_import = lambda: watching.execute(query + " AND datname = 'killed'").fetchone() is not None  # noqa: E731
        started = Service(home, settings | own).start()
        stack.callback(started.stop)
        yield started, in_import


@pytest.fixture
def own_shop(service: tuple[Service, Callable[[], bool]]) -> Iterator[Shop]:
    with open_shop(service[0].url) as opened:
        yield opened


def imports(shop: Shop, kind: str, csv: str) -> httpx.Response:
    return shop.writer.post(f"{BOOKS}/imports?kind={kind}&format=csv", content=csv.encode(), timeout=120)


@contextmanager
def in_background(work: Callable[[], object]) -> Iterator[None]:
    """Whatever comes of it: the server that it asks is killed."""

    def run() -> None:
        with suppress(httpx.TransportError):
            work()

    thread = threading.Thread(target=run)
    thread.start()
    yield
    thread.join()


def test_killed_in_an_import(
    service: tuple[Service, Callable[[], bool]], own_shop: Shop, recovery: Recovery
) -> None:
    server, in_import = service
    before, kind = interactions(own_shop.reader), server.home.name
    assert not in_import()
    with in_background(lambda: imports(own_shop, "interactions", MANY)):
        wait_for(in_import)
        server.kill()
    assert spare_file(Path(server.settings["TMPDIR"]))
    with recovery(f"API killed in an import ({kind}), until it is ready again (most of it: loading torch)"):
        server.start()
    assert not spare_file(Path(server.settings["TMPDIR"]))
    assert interactions(own_shop.reader) == before
    with recovery(f"API killed in an import ({kind}), until the same import has succeeded"):
        again = imports(own_shop, "interactions", MANY)
    assert again.json()["inserted"] == ROWS, again.text
    assert interactions(own_shop.reader) == before + ROWS


@pytest.mark.parametrize("service", ["sqlite"], indirect=True)  # the database has no part in it
def test_killed_in_a_build(
    service: tuple[Service, Callable[[], bool]], own_shop: Shop, recovery: Recovery
) -> None:
    server, _ = service
    folder = server.home / "releases" / own_shop.channel_id
    assert imports(own_shop, "items", NEW_ITEMS).status_code == 201
    wait_for(lambda: list(folder.glob("making-*/*")))
    server.kill()
    assert list(folder.glob("making-*/*"))
    for whole in folder.glob("*/release.json"):
        open_bundle(whole.parent)
    server.start()
    with recovery(
        f"API killed in a build ({server.home.name}), until the new release answers after the start"
    ):
        wait_for(lambda: ranked(own_shop.reader, history=["n00003"]))
    assert not list(folder.glob("making-*"))
    for whole in folder.glob("*/release.json"):
        open_bundle(whole.parent)
