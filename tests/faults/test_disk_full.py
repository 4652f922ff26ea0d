"""A disk is full: what needs it is told so, all else goes on, and it works again once there is space."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import httpx
import pytest

from app.serving.release import open_bundle
from tests.app.api.conftest import Shop, is_problem, serves
from tests.faults.conftest import BOOKS, THINGS, Recovery, interactions, open_shop, ranked
from tests.servers import Service, wait_for

SIZES = {"home": "4m", "database": "16m", "temporary": "2m"}
HISTORY = THINGS.sequences["u1"]
NEW_ITEMS = "item_id,text\n" + "".join(f"n{n},brand new {n}\n" for n in range(100))
ROWS = 20_000
MANY = "user_id,item_id,timestamp\n" + "".join(f"v{n},i{n % 24:02d},{n}\n" for n in range(ROWS))


@pytest.fixture(scope="module")
def disks(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Path]]:
    """Three disks of a few MB."""
    root, mounted = tmp_path_factory.mktemp("disks"), dict[str, Path]()
    try:
        for name, size in SIZES.items():
            (root / name).mkdir()
            mount = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(root / name)]
            done = subprocess.run(mount, capture_output=True, text=True, check=False)
            if done.returncode:
                pytest.skip(f"a small disk cannot be mounted here: {done.stderr.strip()}")
            mounted[name] = root / name
        yield mounted
    finally:
        for disk in mounted.values():
            subprocess.run(["umount", "-l", str(disk)], check=True)


@pytest.fixture(scope="module")
def service(disks: dict[str, Path], settings: dict[str, str]) -> Iterator[Service]:
    """A server with its releases, its database and its temporary files on a disk each."""
    own = {
        "TRANSREC_DATABASE_URL": f"sqlite:///{disks['database'] / 'transrec.db'}",
        "TMPDIR": str(disks["temporary"]),
    }
    started = Service(disks["home"], settings | own).start()
    yield started
    started.stop()


@pytest.fixture
def own_shop(service: Service) -> Iterator[Shop]:
    with open_shop(service.url) as opened:
        yield opened


@contextmanager
def full(disk: Path) -> Iterator[None]:
    """No byte is left on the disk while the block runs."""
    filler = disk / "filler"
    try:
        with filler.open("wb", buffering=0) as out, suppress(OSError):
            while True:
                out.write(bytes(4096))
        yield
    finally:
        filler.unlink()


def imports(shop: Shop, kind: str, csv: str) -> httpx.Response:
    return shop.writer.post(f"{BOOKS}/imports?kind={kind}&format=csv", content=csv.encode())


def is_full(answer: httpx.Response) -> bool:
    assert "disk is full" in answer.text
    return is_problem(answer, 507) and int(answer.headers["retry-after"]) > 0


@pytest.mark.parametrize("disk", ["temporary", "database"])
def test_no_space_for_an_import(
    disks: dict[str, Path], own_shop: Shop, disk: str, recovery: Recovery
) -> None:
    before, expected = interactions(own_shop.reader), ranked(own_shop.reader, user_id="u1")
    with full(disks[disk]):
        assert is_full(imports(own_shop, "interactions", MANY))
        assert ranked(own_shop.reader, user_id="u1") == ranked(own_shop.reader, history=HISTORY) == expected
        assert ranked(own_shop.reader, user_id="u2")  # read from the database
        assert interactions(own_shop.reader) == before
        assert own_shop.reader.get("/health/ready").status_code == 200
    assert not list(disks["temporary"].glob("transrec-upload-*"))
    with recovery(f"disk of the {disk} files full, then space is freed, until the import succeeds"):
        wait_for(lambda: imports(own_shop, "interactions", MANY).status_code == 201)
    assert interactions(own_shop.reader) == before + ROWS


def test_no_space_for_a_release(disks: dict[str, Path], own_shop: Shop, recovery: Recovery) -> None:
    expected = ranked(own_shop.reader, history=HISTORY)
    folder = disks["home"] / "releases" / own_shop.channel_id

    def serving() -> dict[str, str]:
        found: dict[str, str] = own_shop.reader.get(BOOKS).json()["serving"]
        return found

    with full(disks["home"]):
        assert imports(own_shop, "items", NEW_ITEMS).status_code == 201
        wait_for(lambda: serving()["failure"])
        assert "disk is full" in serving()["failure"]
        assert ranked(own_shop.reader, history=HISTORY) == expected
        ready = own_shop.reader.get("/health/ready")
        assert ready.status_code == 200
        assert "disk is full" in ready.json()["failing"][own_shop.channel_id]
        assert not list(folder.glob("making-*"))
    with recovery("disk of the releases full, then space is freed, until the new release answers"):
        wait_for(lambda: serves(own_shop.reader, 0, 3))
    assert serving()["failure"] is None
    assert ranked(own_shop.reader, history=["n0", "n1"])
    for whole in folder.glob("*/release.json"):
        open_bundle(whole.parent)
