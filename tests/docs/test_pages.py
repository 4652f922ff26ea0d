"""Every code block of the README and the quickstart is run against a real `transrec serve` and its worker."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import httpx
import pytest

from tests.app.api.conftest import EVENTS, ITEMS, client, wait_for
from tests.docs.pages import Reader, matches, problems, reader_environment
from tests.servers import Service

ROOT = Path(__file__).parent.parent.parent
PAGES = [ROOT / "README.md", ROOT / "docs" / "quickstart.md"]
OPERATOR = "var/operator.key"


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """The service with the shipped backbone and its worker, as `make serve` starts it in a fresh clone."""
    home = tmp_path_factory.mktemp("shop") / "var"
    started = Service(home, {"TRANSREC_DEVICE": "cpu", "TRANSREC_POLL_SECONDS": "0.5"}, worker=True)
    try:
        yield started.start()
    finally:
        started.stop()


def read(page: Path, service: Service, **places: str) -> list[str]:
    """Read a page with the server's address and `places` put in; returns the reasons of blocks left out."""
    text = page.read_text()
    for shown, real in {"http://127.0.0.1:8000": service.url, **places}.items():
        assert shown in text
        text = text.replace(shown, real)
    folder = service.home.parent
    copy = folder / page.name
    copy.write_text(text)
    reader = Reader(folder, reader_environment())
    with closing(reader.shell):
        evaluated, left_out = reader.read(copy)
    assert evaluated
    return left_out


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.name))
def test_no_block_is_left_out_in_silence(page: Path) -> None:
    assert problems(page.read_text()) == []


def test_the_quickstart(service: Service) -> None:
    assert len(read(ROOT / "docs" / "quickstart.md", service)) == 2


def test_the_readme(service: Service) -> None:
    key = pastry(service)
    left_out = read(ROOT / "README.md", service, **{"tr_...": key})
    assert len(left_out) == 2  # make demo and make test; the tree


def pastry(service: Service) -> str:
    """A channel `pastry` as the demo leaves it; returns its reader's key."""
    with client(service.url, (service.home / "operator.key").read_text().strip()) as operator:
        operator.post("/v1/admin/tenants", json={"name": "grocer"}).raise_for_status()
        keys = operator.post("/v1/admin/tenants/grocer/keys", json={"role": "operator"})
    with client(service.url, str(keys.json()["secret"])) as http:
        http.post("/v1/admin/channels", json={"name": "pastry"}).raise_for_status()
        for kind, rows in (("items", ITEMS), ("interactions", EVENTS.replace("\nu", "\n"))):
            sent = http.post(f"/v1/channels/pastry/imports?kind={kind}&format=csv", content=rows.encode())
            sent.raise_for_status()
        wait_for(lambda: served(http))
    return str(keys.json()["secret"])


def served(http: httpx.Client) -> bool:
    """Whether what was imported answers."""
    found = http.get("/v1/channels/pastry").json()
    return bool(found["serving"]["generation"] == found["generation"])


@pytest.mark.parametrize(
    "broken",
    [
        "```bash\nfalse\n```\n",
        "```bash\ntransrec no-such-command\n```\n",
        "```bash\necho one\n```\n\n```text\ntwo\n```\n",
        "```python\nraise ValueError\n```\n",
        "```python\nprint(1)\n```\n\n```json\n{... 2}\n```\n",
        "```bash\nNAME=1; export NAME\n```\n\n```python\nimport os\nassert os.environ['NAME'] == '2'\n```\n",
    ],
)
def test_a_page_with_a_broken_block_fails(broken: str, tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(broken)
    reader = Reader(tmp_path, reader_environment())
    with closing(reader.shell), pytest.raises((AssertionError, ValueError)):
        reader.read(page)


def test_what_is_left_out_is_said(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text('<!-- skip: next "nobody can run this" -->\n```bash\nfalse\n```\n\n```bash\ntrue\n```\n')
    reader = Reader(tmp_path, reader_environment())
    with closing(reader.shell):
        assert reader.read(page) == (1, ["nobody can run this"])


@pytest.mark.parametrize(
    "silent",
    [
        "```\nmake it\n```\n",
        "```sh\nmake it\n```\n",
        "    make it\n",
        "<!-- skip: next -->\n```bash\nfalse\n```\n",
        '<!-- skip: start "for no reason at all" -->\n\n```bash\nfalse\n```\n',
    ],
)
def test_a_block_that_nobody_would_run_is_a_problem(silent: str) -> None:
    assert len(problems(silent)) == 1


def test_dots_stand_for_anything_and_nothing_else_does() -> None:
    assert matches('{"a": ..., "b": 2}', '{"a":[1,2],\n "b":2}\n')
    assert not matches('{"a": ..., "b": 2}', '{"a":1,"b":3}')
    assert not matches("a", "a b")
