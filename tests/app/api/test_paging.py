"""Page by page: nothing twice, whatever happens in between."""

from typing import Any

import httpx
import pytest
import redis

from app.api import pages as module
from app.core.names import PAGES
from app.model.backbone import Backbone
from app.store import patient
from tests.app.api.conftest import Server, Shop, client, is_problem, send, serves, wait_for
from tests.fakes import adapter_bytes

BOOKS = "/v1/channels/books/recommendations"
WHO: list[dict[str, Any]] = [{"history": ["i1", "i2"]}, {"user_id": "u0"}, {"user_id": "nobody"}]


def first(reader: httpx.Client, **body: object) -> dict[str, Any]:
    return ok(reader.post(BOOKS, json={"paged": True, **body}))


def after(reader: httpx.Client, page: dict[str, Any], **body: object) -> dict[str, Any]:
    return ok(reader.post(f"{BOOKS}/{page['recommendation_id']}/next", json=body))


def ok(answer: httpx.Response) -> dict[str, Any]:
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def ids(page: dict[str, Any]) -> list[str]:
    return [item["item_id"] for item in page["items"]]


def chain(reader: httpx.Client, page: dict[str, Any]) -> list[str]:
    """The ids of this page and of all that follow."""
    shown = ids(page)
    while ids(page):
        assert page["paged"] is True
        page = after(reader, page)
        shown += ids(page)
    return shown


@pytest.mark.parametrize("who", WHO)
def test_pages_put_together_are_one_answer(shop: Shop, who: dict[str, Any]) -> None:
    whole = ok(shop.reader.post(BOOKS, json={**who, "count": 30, "exclude_item_ids": ["i9"]}))
    assert whole["paged"] is False
    page = first(shop.reader, **who, count=4, exclude_item_ids=["i9"])
    assert chain(shop.reader, page) == ids(whole)
    filter_ = {"colour": {"any": ["c1", "c2"]}, "n": {"exists": False}}
    some = first(shop.reader, **who, count=3, filter=filter_)
    whole = ok(shop.reader.post(BOOKS, json={**who, "count": 30, "filter": filter_}))
    assert chain(shop.reader, some) == ids(whole)
    assert len({page["recommendation_id"], some["recommendation_id"], whole["recommendation_id"]}) == 3


@pytest.mark.parametrize("who", WHO)
def test_each_page_keeps_to_the_limits(shop: Shop, who: dict[str, Any]) -> None:
    page = first(shop.reader, **who, count=10, at_most={"colour": 1})
    shown: list[str] = []
    while ids(page):
        colours = [item["metadata"]["colour"] for item in page["items"]]
        assert len(colours) == len(set(colours)) <= 3
        shown += ids(page)
        page = after(shop.reader, page)
    assert (
        len(shown) == len(set(shown)) == len(ok(shop.reader.post(BOOKS, json={**who, "count": 30}))["items"])
    )


def test_the_count_can_change_and_a_page_can_be_asked_for_again(shop: Shop) -> None:
    page = first(shop.reader, history=["i1"], count=2)
    second = after(shop.reader, page, count=5)
    again = after(shop.reader, page, count=5)
    assert ids(second) == ids(again)
    assert second["recommendation_id"] != again["recommendation_id"]
    third = shop.reader.post(f"{BOOKS}/{second['recommendation_id']}/next")  # no body: as many as before
    shown = [*ids(page), *ids(second), *ids(ok(third))]
    assert len(shown) == len(set(shown)) == 12


def test_nothing_twice_although_items_and_releases_change(shop: Shop, backbone: tuple[str, Backbone]) -> None:
    page = first(shop.reader, history=["i1", "i2"], count=5)
    cold = first(shop.reader, user_id="nobody", count=5)
    send(shop.writer, "items", "item_id,text\nnew1,thing 1 of kind 1\nnew2,thing 8 of kind 2\n")
    assert shop.writer.delete("/v1/channels/books/items/i2").status_code == 204  # out of the history, too
    shop.operator.post("/v1/admin/channels/books/adapters", content=adapter_bytes(backbone[1], 1))
    shop.operator.post("/v1/admin/channels/books/releases/promote", json={"version": 1})
    wanted = shop.reader.get("/v1/channels/books").json()["generation"]
    wait_for(lambda: serves(shop.reader, 1, wanted))
    for started in (page, cold):
        shown = chain(shop.reader, started)
        assert len(shown) == len(set(shown))
        known = {f"i{n}" for n in range(30)} | {"new1", "new2"}
        expected = known - ({"i1"} if started is page else set()) - {"i2"}
        assert set(shown) | {"i2"} == expected | {"i2"}
    assert after(shop.reader, page)["release"]["version"] == 1


def test_any_replica_goes_on(shop: Shop, second: str) -> None:
    key = shop.reader.headers["authorization"].removeprefix("Bearer ")
    with client(second, key) as there:
        wait_for(lambda: serves(there, 0))
        here, shown = True, list[str]()
        page = first(shop.reader, user_id="u1", count=3)
        while ids(page):
            shown += ids(page)
            here = not here
            page = after(shop.reader if here else there, page)
    assert shown == ids(ok(shop.reader.post(BOOKS, json={"user_id": "u1", "count": 30})))


def test_pages_belong_to_their_channel(server: Server, platform: httpx.Client, shop: Shop) -> None:
    page = first(shop.reader, history=["i1"])
    path = f"recommendations/{page['recommendation_id']}/next"
    shop.operator.post("/v1/admin/channels", json={"name": "films"})
    answer = shop.reader.post(f"/v1/channels/films/{path}")
    assert is_problem(answer, 404)
    assert "paged" in answer.json()["detail"]
    other = f"o{shop.tenant}"
    platform.post("/v1/admin/tenants", json={"name": other})
    secret = platform.post(f"/v1/admin/tenants/{other}/keys", json={"role": "operator"}).json()["secret"]
    with client(server.url, secret) as stranger:
        stranger.post("/v1/admin/channels", json={"name": "books"})
        assert is_problem(stranger.post(f"/v1/channels/books/{path}"), 404)
    with client(server.url, None) as nobody:
        assert is_problem(nobody.post(f"/v1/channels/books/{path}"), 401)
    assert shop.reader.post(f"/v1/channels/books/{path}").status_code == 200


def test_what_cannot_be_gone_on_from(server: Server, shop: Shop) -> None:
    unpaged = ok(shop.reader.post(BOOKS, json={"history": ["i1"]}))
    for name in (unpaged["recommendation_id"], "nonsense", "rec_x", "%00", "batch"):
        assert is_problem(shop.reader.post(f"{BOOKS}/{name}/next"), 404)
    page = first(shop.reader, history=["i1"])
    path = f"{BOOKS}/{page['recommendation_id']}/next"
    for body, field in (({"count": 0}, "body.count"), ({"size": 1}, "body.size"), ([], "body")):
        answer = shop.reader.post(path, json=body)
        assert is_problem(answer, 422)
        assert answer.json()["errors"][0]["field"] == field
    assert is_problem(shop.reader.post(path, json={"count": 501}), 422)
    with redis.Redis.from_url(server.settings.redis_url) as store:
        key = f"{PAGES}:{shop.channel_id}:{page['recommendation_id']}"
        assert 0 < store.ttl(key) <= 60  # it has been gone on from
        for damaged in (b"", b"{}", b'{"request":{},"shown":[]}', b"\xff"):
            store.set(key, damaged)
            assert is_problem(shop.reader.post(path), 404)
        store.delete(key)
        assert is_problem(shop.reader.post(path), 404)


def test_states_expire(server: Server, shop: Shop) -> None:
    page = first(shop.reader, user_id="u0")
    with redis.Redis.from_url(server.settings.redis_url) as store:
        left = store.ttl(f"{PAGES}:{shop.channel_id}:{page['recommendation_id']}")
    assert 0 < left <= server.settings.paging_seconds == 600


def test_a_chain_has_an_end(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_SHOWN", 10)
    page = after(shop.reader, first(shop.reader, history=["i1"], count=4))
    path = f"{BOOKS}/{page['recommendation_id']}/next"
    answer = shop.reader.post(path)
    assert is_problem(answer, 409)
    assert "10 items" in answer.json()["detail"]
    assert len(ids(ok(shop.reader.post(path, json={"count": 2})))) == 2


def test_without_redis_first_pages_go_on(server: Server, shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    page = first(shop.reader, history=["i1"], count=3)

    async def away(*_: object) -> None:
        raise patient.Away

    monkeypatch.setattr(patient.PatientRedis, "ask", away)
    alone = first(shop.reader, history=["i1"], count=3)
    assert ids(alone) == ids(page)
    assert alone["paged"] is False
    answer = shop.reader.post(f"{BOOKS}/{page['recommendation_id']}/next")
    assert is_problem(answer, 503)
    assert answer.headers["retry-after"]
    monkeypatch.undo()
    assert len(ids(after(shop.reader, page))) == 3
