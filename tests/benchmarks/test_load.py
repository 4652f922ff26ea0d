"""The load tool measures right: what it counts, what it makes."""

import asyncio
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import uvicorn
import uvloop

from app.model import adapters
from app.model.backbone import load_backbone
from app.model.checkpoint import adapter_from_bytes
from app.model.snapshot import content_digest, snapshot_from_bytes
from app.store import catalog, events, registry, releases, tenants, vectors
from app.store.channels import list_channels
from app.store.db import Database
from tests.benchmarks.load import client
from tests.benchmarks.load.client import arrivals, closed_loop, open_loop
from tests.benchmarks.load.connection import Request, ask
from tests.benchmarks.load.population import BACKBONE, Spec, populate
from tests.benchmarks.load.result import LOST, Result, ratio, together
from tests.benchmarks.load.traffic import mixed, render, user_id

SLOW_SECONDS = 0.05


async def application(scope: Any, receive: Any, send: Any) -> None:
    """/ok in two pieces, /busy a 429, /broken half an answer, /slow and /stuck after a while."""
    path = scope["path"]
    await asyncio.sleep({"/slow": SLOW_SECONDS, "/stuck": 1.0}.get(path, 0))
    length = [(b"content-length", b"5")]
    await send({"type": "http.response.start", "status": 429 if path == "/busy" else 200, "headers": length})
    await send({"type": "http.response.body", "body": b"who", "more_body": True})
    if path == "/broken":
        await asyncio.sleep(0.01)  # so that the first half is on its way
        raise ConnectionError
    await send({"type": "http.response.body", "body": b"le"})


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    config = uvicorn.Config(application, port=0, lifespan="off", log_config=None, log_level="critical")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    yield server.servers[0].sockets[0].getsockname()[1]
    server.should_exit = True
    thread.join()


def get(path: str) -> Request:
    return render("GET", path, "", name=path)


def test_answers_in_pieces_are_whole(port: int) -> None:
    assert uvloop.run(ask(port, get("/ok"))) == (200, b"whole")
    assert uvloop.run(ask(port, get("/busy"))) == (429, b"whole")
    assert uvloop.run(ask(port, get("/broken")))[0] == LOST


def test_closed_loop_counts_failures_apart(port: int) -> None:
    requests = [get("/ok"), get("/ok"), get("/busy"), get("/broken")]
    result = uvloop.run(closed_loop(port, requests, 4, 0.5))
    assert set(result.errors) == {429, LOST}
    assert abs(result.errors[429] - len(result.latencies) / 2) <= 4
    assert abs(result.errors[LOST] - len(result.latencies) / 2) <= 4
    assert result.rate == pytest.approx(len(result.latencies) / 0.5, rel=0.2)


def test_who_gets_no_answer_is_lost(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "DRAIN_SECONDS", 0.1)
    result = uvloop.run(closed_loop(port, [get("/stuck")], 3, 0.1))
    assert (result.errors[LOST], result.failed, result.latencies) == (3, 3, [])


def test_a_check_sees_a_share_of_the_answers(port: int) -> None:
    seen: list[bool] = []

    def check(request: Request, body: bytes) -> bool:
        seen.append(request.name == "/ok" and body == b"whole")
        return False

    result = uvloop.run(closed_loop(port, [get("/ok")], 2, 0.2, check, check_every=10))
    assert all(seen)
    assert result.wrong == len(seen) == len(result.latencies) // 10


def test_open_loop_keeps_its_rate(port: int) -> None:
    result = uvloop.run(open_loop(port, [get("/slow")], 200, 1.0, seed=1))
    assert len(result.latencies) == len(arrivals(200, 1.0, 1))
    assert (result.late, result.failed) == (0, 0)
    assert result.percentile(50) == pytest.approx(SLOW_SECONDS, abs=0.03)


def test_open_loop_counts_from_the_scheduled_arrival(port: int) -> None:
    """One connection answers 20 a second of 100 offered: a closed loop would call that 50 ms."""
    number = len(arrivals(100, 0.5, 1))
    result = uvloop.run(open_loop(port, [get("/slow")], 100, 0.5, connections=1, seed=1))
    assert len(result.latencies) + len(result.unanswered) == number
    assert len(result.latencies) <= 0.5 / SLOW_SECONDS + 1
    assert result.late >= number / 2
    assert result.percentile(50) > 2 * SLOW_SECONDS


def test_arrivals_are_poissons() -> None:
    times = arrivals(1_000, 20, 0)
    gaps = times[1:] - times[:-1]
    assert len(times) == pytest.approx(20_000, rel=0.03)
    assert gaps.std() == pytest.approx(gaps.mean(), rel=0.05)  # as of an exponential distribution


def test_percentiles_are_nearest_ranks_and_know_the_unanswered() -> None:
    result = Result(seconds=2, latencies=[n / 100 for n in range(1, 100)], unanswered=[9.0])
    assert [result.percentile(p) for p in (50, 90, 99, 100)] == [0.5, 0.9, 0.99, 9.0]
    assert (result.rate, result.failed) == (49.5, 1)
    both = together([result, Result(1, latencies=[1.0], errors=Counter({429: 2}))])
    assert (both.seconds, both.failed, len(both.latencies)) == (3, 3, 100)
    assert ratio([Result(1, latencies=[1.0])], [Result(1, latencies=[1.0, 1.0])]) == 0.5


def test_zipf_prefers_the_first_channels() -> None:
    each = [[get(f"/{channel}")] for channel in range(4)]
    counts = Counter(request.name for request in mixed(each, zipf=1.0))
    assert counts["/0"] / counts["/3"] == pytest.approx(4, rel=0.1)
    counts = Counter(request.name for request in mixed(each))
    assert counts["/0"] / counts["/3"] == pytest.approx(1, rel=0.1)


def test_a_population_is_whole_and_found_again(tmp_path: Path) -> None:
    made = populate(tmp_path, Spec(channels=2, items=7, users=3))
    found = populate(tmp_path, Spec(channels=2, items=7, users=3))
    assert (found.home, found.adapter_bytes) == (made.home, made.adapter_bytes)
    backbone = load_backbone(BACKBONE)
    db = Database(f"sqlite:///{made.home / 'transrec.db'}")
    with db.read() as s:
        assert tenants.authenticate(s, made.reader).role == "reader"
        stored = list_channels(s, tenants.get_tenant(s, "load").id)
        assert [channel.name for channel in stored] == made.channels
        for channel in stored:
            items = catalog.load_items(s, channel.id)
            assert len({item.text for item in items}) == 7
            assert len(events.history(s, channel.id, user_id(0))) >= 5
            version = releases.champion(s, channel.id).version
            adapter = registry.get_adapter(s, channel.id, version, with_weights=True)
            weights, config, fingerprint = adapter_from_bytes(adapter.weights)
            adapters.load(backbone.model, config, weights)  # raises unless it fits
            snapshot = vectors.load_vectors(s, channel.id, adapter.sha256, fingerprint)
            assert snapshot is not None
            assert set(snapshot_from_bytes(snapshot)) == {content_digest(item.text) for item in items}
    db.dispose()
