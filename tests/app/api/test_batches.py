"""Many recommendations in one request."""

import os
import signal
import threading
from typing import Any

import httpx
import pytest

from app.api.batches import MOST_ITEMS
from app.api.schemas.recommendations import BatchOut
from app.core.attribution import origin_of
from tests.app.api.conftest import Server, Shop, client, is_problem
from tests.app.api.test_serving import engine_of, held

BOOKS = "/v1/channels/books/recommendations"


def results(answer: httpx.Response) -> list[dict[str, Any]]:
    assert answer.status_code == 200, answer.text
    BatchOut.model_validate(answer.json())
    found: list[dict[str, Any]] = answer.json()["results"]
    return found


def test_one_outcome_an_entry_in_order(shop: Shop) -> None:
    entries: list[object] = [
        {"history": ["i1"], "count": 3},
        {"user_id": "u0", "history": []},
        {"history": ["nowhere"]},
        "nonsense",
        {"user_id": "nobody", "count": 2, "filter": {"colour": "c1"}},
        {"user_id": "u0", "count": 501},
        {"user_id": "u0", "filter": {"colour": {"near": 1}}},
        {"user_id": "u1", "count": 4, "at_most": {"colour": 1}, "paged": True},
    ]
    found = results(shop.reader.post(f"{BOOKS}/batch", json={"requests": entries}))
    assert [each["status"] for each in found] == [200, 422, 404, 422, 200, 422, 422, 200]
    for each in found:
        assert set(each) == {"status", "recommendation" if each["status"] == 200 else "problem"}
        assert each["status"] == each.get("problem", each)["status"]
    assert [len(found[n]["recommendation"]["items"]) for n in (0, 4, 7)] == [3, 2, 3]
    assert found[2]["problem"]["unknown"] == ["nowhere"]
    assert found[6]["problem"]["errors"][0]["field"] == "body.filter.colour.near"
    alone = shop.reader.post(BOOKS, json=entries[0]).json()
    assert [i["item_id"] for i in found[0]["recommendation"]["items"]] == [
        i["item_id"] for i in alone["items"]
    ]
    recommended = [found[n]["recommendation"]["recommendation_id"] for n in (0, 4, 7)]
    assert len(set(recommended)) == 3
    assert all(origin_of(each) for each in recommended)
    assert shop.reader.post(f"{BOOKS}/{recommended[2]}/next").status_code == 200
    assert is_problem(shop.reader.post(f"{BOOKS}/{recommended[0]}/next"), 404)


@pytest.mark.parametrize("share", [1, 7, 512])
def test_a_lone_batch_of_a_hundred_is_not_refused(
    server: Server, shop: Shop, monkeypatch: pytest.MonkeyPatch, share: int
) -> None:
    monkeypatch.setattr(engine_of(server).batchers["text"], "share", share)
    entries = [{"history": [f"i{n % 30}"], "count": 5} for n in range(100)]
    found = results(shop.reader.post(f"{BOOKS}/batch", json={"requests": entries}))
    assert [each["status"] for each in found] == [200] * 100
    seen = [each["recommendation"]["items"] for each in found]
    assert all(f"i{n % 30}" not in {i["item_id"] for i in items} for n, items in enumerate(seen))


def test_a_full_queue_refuses_entries_and_says_when_to_try_again(
    server: Server, shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine_of(server).batchers["text"], "_seconds", 0.1)
    entries = [{"history": ["i1"]}] * 40 + [{"user_id": "nobody"}]
    with held(engine_of(server)):
        threading.Timer(0.5, let_go, [server]).start()
        found = results(shop.reader.post(f"{BOOKS}/batch", json={"requests": entries}))
    refused = [each["problem"] for each in found if each["status"] == 429]
    assert refused
    assert all(problem["retry_after"] == 1 for problem in refused)
    assert found[-1]["status"] == 200  # needs no model


def let_go(server: Server) -> None:
    process = engine_of(server).rankers["text"]._process
    assert process is not None
    os.kill(process.pid, signal.SIGCONT)


def test_bounds(shop: Shop) -> None:
    wrong: list[object] = [{}, [], {"requests": []}, {"requests": [{}] * 101}, {"requests": {}}]
    for body in [*wrong, {"requests": [{}], "x": 1}]:
        assert is_problem(shop.reader.post(f"{BOOKS}/batch", json=body), 422)
    entries = [{"user_id": "nobody", "count": 500}] * (MOST_ITEMS // 500 + 1) + [{"user_id": "nobody"}]
    found = results(shop.reader.post(f"{BOOKS}/batch", json={"requests": entries}))
    assert [each["status"] for each in found] == [200] * (MOST_ITEMS // 500) + [422] * 2
    assert "another batch" in found[-1]["problem"]["detail"]


def test_who_may_not_read_gets_no_outcomes(server: Server, shop: Shop) -> None:
    body = {"requests": [{"user_id": "u0"}]}
    with client(server.url, None) as nobody:
        assert is_problem(nobody.post(f"{BOOKS}/batch", json=body), 401)
    assert is_problem(shop.reader.post("/v1/channels/nowhere/recommendations/batch", json=body), 404)
