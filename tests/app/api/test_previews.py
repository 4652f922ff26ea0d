"""What a chosen release would answer: the right one does, for who may ask, and it counts nowhere."""

from typing import Any

import httpx
import pytest

from app.model.backbone import Backbone
from tests.app.api.conftest import Shop, is_problem, serves, wait_for
from tests.fakes import adapter_bytes

ADMIN = "/v1/admin/channels/books"
BOOKS = "/v1/channels/books/recommendations"
HISTORY = {"history": ["i1", "i2"], "count": 5}


@pytest.fixture
def tried(shop: Shop, backbone: tuple[str, Backbone]) -> Shop:
    """The shop with version 1 as a challenger that answers nobody, and version 2."""
    for seed in (1, 2):
        assert shop.operator.post(f"{ADMIN}/adapters", content=adapter_bytes(backbone[1], seed)).is_success
    plan = {"version": 1, "share": 0, "shadow": True}
    assert shop.operator.put(f"{ADMIN}/releases/challenger", json=plan).is_success
    wait_for(lambda: shop.reader.get("/v1/channels/books").json()["serving"]["challenger"])
    return shop


def preview(asker: httpx.Client, **more: Any) -> dict[str, Any]:
    answer = asker.post(f"{BOOKS}/preview", json=HISTORY | more)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def ids(answer: dict[str, Any]) -> list[str]:
    return [item["item_id"] for item in answer["items"]]


def test_champion_and_challenger_side_by_side(tried: Shop) -> None:
    champion, challenger = preview(tried.reader), preview(tried.operator, variant="challenger")
    assert (champion["variant"], champion["release"]["version"]) == ("champion", 0)
    assert (challenger["variant"], challenger["release"]["version"]) == ("challenger", 1)
    assert champion["up_to_date"]
    assert challenger["up_to_date"]
    # As the hot path answers; the metadata are there, so nobody has to ask for titles.
    asked = tried.reader.post(BOOKS, json=HISTORY).json()
    assert champion["items"] == asked["items"]
    assert ids(challenger) != ids(champion)
    # And once it is champion, it says what it said as challenger.
    tried.operator.post(f"{ADMIN}/releases/promote", json={"version": 1})
    wait_for(lambda: serves(tried.reader, 1))
    assert (
        preview(tried.reader)["items"]
        == challenger["items"]
        == tried.reader.post(BOOKS, json=HISTORY).json()["items"]
    )
    # The champion before lies on the disk yet.
    before = preview(tried.operator, version=0)
    assert (before["variant"], before["release"]["version"], ids(before)) == (None, 0, ids(champion))


def test_it_counts_nowhere(tried: Shop) -> None:
    def counted() -> int:
        online = tried.operator.get(f"{ADMIN}/online").json()
        return sum(row["recommendations"] for row in online)

    def compared() -> int:
        return int(tried.operator.get(f"{ADMIN}/releases/rollout").json()["compared"]["queries"])

    for variant in ("champion", "challenger"):
        assert "recommendation_id" not in preview(tried.operator, variant=variant)
    tried.reader.post(BOOKS, json=HISTORY)
    wait_for(lambda: counted() and compared())
    assert (counted(), compared()) == (1, 1)


def test_users_filters_and_pages(tried: Shop) -> None:
    asked: dict[str, Any] = {
        "history": None,
        "user_id": "u1",
        "filter": {"colour": "c1"},
        "exclude_seen": False,
    }
    first = preview(tried.operator, **asked)
    assert {item["metadata"]["colour"] for item in first["items"]} == {"c1"}
    second = preview(tried.operator, **asked, exclude_item_ids=ids(first))
    assert not set(ids(first)) & set(ids(second))
    unknown = preview(tried.reader, history=None, user_id="nobody")
    assert {item["reason"] for item in unknown["items"]} == {"cold_start"}


def test_who_may_and_what_cannot_be(tried: Shop) -> None:
    def ask(asker: httpx.Client, **more: Any) -> httpx.Response:
        return asker.post(f"{BOOKS}/preview", json=HISTORY | more)

    for more in ({"variant": "challenger"}, {"version": 1}, {"version": 0}):
        assert is_problem(ask(tried.reader, **more), 403)
        assert is_problem(ask(tried.writer, **more), 403)
    assert is_problem(ask(tried.operator, version=2), 409)  # nobody has built it
    assert is_problem(ask(tried.operator, version=77), 404)
    assert is_problem(ask(tried.reader, history=["nothing"]), 404)
    for wrong in (
        {"variant": "other"},
        {"version": -1},
        {"paged": True},
        {"count": 501},
        {"filter": {"a": {"near": 1}}},
    ):
        assert is_problem(ask(tried.operator, **wrong), 422)
    assert is_problem(ask(tried.operator, variant="champion", version=0), 422)
    tried.operator.delete(f"{ADMIN}/releases/challenger")
    wait_for(lambda: not tried.reader.get("/v1/channels/books").json()["serving"]["challenger"])
    assert is_problem(ask(tried.operator, variant="challenger"), 409)
