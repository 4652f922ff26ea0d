"""The hot path: what it remembers, what it refuses, what it survives."""

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from importlib import metadata

import httpx
import pytest

from app.core.clock import now
from app.core.errors import Unavailable
from app.serving.engine import Engine
from app.store.db import Database
from tests.app.api.conftest import Server, Shop, client, is_problem, wait_for

BOOKS = "/v1/channels/books/recommendations"
ASK = {"history": ["i1", "i2"], "count": 3}


def engine_of(server: Server) -> Engine:
    found: Engine = server.app.state.engine
    return found


def test_the_tiers_are_shown_to_the_platform(server: Server, platform: httpx.Client, shop: Shop) -> None:
    before = platform.get("/v1/admin/serving").json()["queue"]["text"]["answered"]
    for _ in range(3):
        assert shop.reader.post(BOOKS, json=ASK).status_code == 200
    state = platform.get("/v1/admin/serving").json()
    assert state["queue"]["text"]["answered"] == before + 3
    assert state["host"]["server"]["bytes"] > 0
    assert state["host"]["text"]["releases"] >= 1
    assert state["disk"]["releases"] >= 1
    assert state["device"]["text"]["resident_bytes"] >= 0
    assert state["version"] == metadata.version("transrec-serve")
    assert (state["database"], state["device_name"], state["gpu"]) == ("sqlite", "cpu", {})
    assert state["memory"].keys() == {"server", "text", "image"}
    assert min(state["memory"].values()) > 10_000_000
    assert state["budgets"]["device"] == server.settings.device_adapter_bytes
    assert datetime.fromisoformat(state["started_at"]) < now()
    assert is_problem(shop.operator.get("/v1/admin/serving"), 403)


def test_a_revoked_key_is_refused_at_once(server: Server, platform: httpx.Client, shop: Shop) -> None:
    keys = f"/v1/admin/tenants/{shop.tenant}/keys"
    made = platform.post(keys, json={"role": "reader"}).json()
    with client(server.url, made["secret"]) as reader:
        assert reader.post(BOOKS, json=ASK).status_code == 200
        assert reader.post(BOOKS, json=ASK).status_code == 200  # remembered
        assert platform.delete(f"{keys}/{made['id']}").status_code == 200
        assert is_problem(reader.post(BOOKS, json=ASK), 401)
    assert shop.reader.post(BOOKS, json=ASK).status_code == 200


def test_what_is_remembered_of_one_key_is_of_no_use_to_another(
    server: Server, platform: httpx.Client, shop: Shop
) -> None:
    assert shop.reader.post(BOOKS, json=ASK).status_code == 200
    other = f"o{shop.tenant}"
    platform.post("/v1/admin/tenants", json={"name": other})
    secret = platform.post(f"/v1/admin/tenants/{other}/keys", json={"role": "operator"}).json()["secret"]
    with client(server.url, secret) as stranger:
        assert is_problem(stranger.post(BOOKS, json=ASK), 404)
        assert is_problem(stranger.post(f"{BOOKS}?tenant={shop.tenant}", json=ASK), 404)
    with client(server.url, None) as nobody:
        assert is_problem(nobody.post(BOOKS, json=ASK), 401)
    assert is_problem(platform.post(BOOKS, json=ASK), 422)  # which tenant?
    assert platform.post(f"{BOOKS}?tenant={shop.tenant}", json=ASK).status_code == 200


@contextmanager
def held(engine: Engine) -> Iterator[None]:
    """No batch is answered meanwhile."""
    ranker = engine.rankers["text"]
    process = ranker._process
    assert process is not None
    os.kill(process.pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(process.pid, signal.SIGCONT)


def test_a_full_queue_is_a_429(server: Server, shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    batcher = engine_of(server).batchers["text"]
    monkeypatch.setattr(batcher, "share", 2)
    answers: list[httpx.Response] = []

    def ask() -> None:
        with httpx.Client(base_url=server.url, headers=shop.reader.headers, timeout=30) as mine:
            answers.append(mine.post(BOOKS, json=ASK))

    threads = [threading.Thread(target=ask) for _ in range(8)]
    with held(engine_of(server)):
        for thread in threads:
            thread.start()
        wait_for(lambda: any(answer.status_code == 429 for answer in answers))
    for thread in threads:
        thread.join()
    assert {answer.status_code for answer in answers} == {200, 429}
    refused = next(answer for answer in answers if answer.status_code == 429)
    assert is_problem(refused, 429)
    assert refused.headers["retry-after"] == "1"
    assert shop.reader.post(BOOKS, json=ASK).status_code == 200


def test_the_models_process_is_killed(server: Server, shop: Shop) -> None:
    expected = shop.reader.post(BOOKS, json=ASK).json()["items"]
    process = engine_of(server).rankers["text"]._process
    assert process is not None
    os.kill(process.pid, signal.SIGKILL)
    answer = shop.reader.post(BOOKS, json=ASK)
    assert is_problem(answer, 503)
    assert answer.headers["retry-after"]
    assert shop.reader.post(BOOKS, json={"history": []}).status_code == 200  # needs no model
    wait_for(lambda: shop.reader.post(BOOKS, json=ASK).status_code == 200, 60)
    again = shop.reader.post(BOOKS, json=ASK).json()["items"]
    assert [item["item_id"] for item in again] == [item["item_id"] for item in expected]


def test_answers_go_on_without_the_database(
    server: Server, shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    user = {"user_id": "u0", "count": 3}
    warm = shop.reader.post(BOOKS, json=ASK), shop.reader.post(BOOKS, json=user)

    def away(_: Database) -> object:
        raise Unavailable("The database does not answer.")

    monkeypatch.setattr(Database, "read", away)
    monkeypatch.setattr(Database, "session", away)
    for body, before in zip((ASK, user), warm, strict=True):
        answer = shop.reader.post(BOOKS, json=body)
        assert [i["item_id"] for i in answer.json()["items"]] == [
            i["item_id"] for i in before.json()["items"]
        ]
    assert is_problem(shop.reader.post(BOOKS, json={"user_id": "u1"}), 503)  # nobody has asked for it yet


def test_wrong_bodies_are_told_as_everywhere(shop: Shop) -> None:
    for body, field in (
        ('{"history": ["i1"], "wrong": 1}', "body.wrong"),
        ('{"count": 3}', "body"),
        ('{"history": ["i1"], "count": 0}', "body.count"),
        ('{"history": [1]}', "body.history.0"),
        ("{", "body"),
        ("", "body"),
    ):
        answer = shop.reader.post(BOOKS, content=body)
        assert is_problem(answer, 422)
        assert answer.json()["errors"][0]["field"] == field
    assert is_problem(shop.reader.post(BOOKS, content=b"[" + b"1," * 600_000 + b"1]"), 413)


def test_scores_and_ids_survive_as_json(shop: Shop) -> None:
    answer = shop.reader.post(BOOKS, json={"history": ["i1"], "count": 30}).json()
    assert answer["variant"] == "champion"
    assert len(answer["items"]) == 29
    scores = [item["score"] for item in answer["items"]]
    assert scores == sorted(scores, reverse=True)
    assert answer["items"][0]["metadata"]["text"].startswith("thing")
    assert set(answer["items"][0]) == {"item_id", "score", "reason", "metadata"}
