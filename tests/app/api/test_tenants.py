"""Tenants over HTTP: limits, quotas, deletion."""

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from uuid import uuid4

import httpx
import pytest

from app.core.config import Settings
from app.main import limits_of
from tests.app.api.conftest import Server, Shop, client, is_problem, send, wait_for
from tests.fakes import adapter_bytes, picture

REC = "/v1/channels/books/recommendations"
NO_LIMITS = {
    "channels": 0,
    "items": 0,
    "interactions": 0,
    "jobs": 0,
    "bytes": 0,
    "requests_per_second": 0,
}


def limit(platform: httpx.Client, shop: Shop, **limits: int | None) -> dict[str, object]:
    answer = platform.patch(f"/v1/admin/tenants/{shop.tenant}", json={"limits": limits})
    assert answer.status_code == 200, answer.text
    changed: dict[str, object] = answer.json()
    return changed


def test_limits_are_shown_with_what_there_is(shop: Shop, platform: httpx.Client) -> None:
    path = f"/v1/admin/tenants/{shop.tenant}"
    shown = shop.operator.get(path).json()
    assert (shown["limits"], shown["overrides"]) == (NO_LIMITS, {})
    assert shown["usage"] == {"channels": 1, "items": 30, "interactions": 24, "jobs": 0, "bytes": 0}
    changed = limit(platform, shop, items=100, jobs=2)
    assert changed["limits"] == NO_LIMITS | {"items": 100, "jobs": 2}
    assert changed["overrides"] == {"items": 100, "jobs": 2}
    assert limit(platform, shop, items=None)["overrides"] == {"jobs": 2}
    assert platform.get(path).json() == limit(platform, shop)
    assert is_problem(shop.operator.patch(path, json={"limits": {}}), 403)
    assert is_problem(shop.writer.get(path), 403)
    for bad in ({"apples": 1}, {"items": -1}, {"items": 2**60}, {"items": "many"}, {"items": 1.5}):
        assert is_problem(platform.patch(path, json={"limits": bad}), 422)
    assert is_problem(platform.patch("/v1/admin/tenants/nowhere", json={"limits": {}}), 404)
    assert is_problem(platform.get("/v1/admin/tenants/nowhere"), 404)


def test_tenants_are_listed_by_page_with_what_is_quickly_counted(shop: Shop, platform: httpx.Client) -> None:
    path, some = "/v1/admin/tenants", uuid4().hex[:8]
    names = [f"{some}-{n}" for n in range(3)]
    for name in names:
        assert platform.post(path, json={"name": name}).status_code == 201
    first = platform.get(path, params={"search": some.upper(), "limit": 2}).json()
    assert [tenant["name"] for tenant in first] == names[:2]
    rest = platform.get(path, params={"search": some, "limit": 2, "after": names[1]}).json()
    assert [tenant["name"] for tenant in rest] == names[2:]
    limit(platform, shop, items=5)
    (mine,) = platform.get(path, params={"search": shop.tenant}).json()
    assert (mine["channels"], mine["keys"]) == (1, 3)
    assert mine["limits"] == NO_LIMITS | {"items": 5}
    assert platform.get(path, params={"search": "%"}).json() == []
    assert {shop.tenant, *names} <= {tenant["name"] for tenant in platform.get(path).json()}
    assert is_problem(platform.get(path, params={"limit": 0}), 422)
    assert is_problem(shop.operator.get(path), 403)


def test_every_quota_is_kept(shop: Shop, platform: httpx.Client, backbone: tuple[str, object]) -> None:
    limit(platform, shop, channels=1, items=31, interactions=25, jobs=1, bytes=10)
    books, admin = "/v1/channels/books", "/v1/admin/channels/books"
    more = "item_id,text\nx1,thing\nx2,thing\n"
    events = "user_id,item_id,timestamp\nx1,i1,1\nx2,i1,1\n"

    def over(answer: httpx.Response, quota: str) -> bool:
        assert is_problem(answer, 429)
        assert answer.headers["retry-after"] == "60"
        assert answer.json()["title"] == "Over quota"
        assert "operator" in answer.json()["detail"]
        return bool(answer.json()["quota"] == quota)

    assert over(shop.operator.post("/v1/admin/channels", json={"name": "films"}), "channels")
    assert over(shop.writer.post(f"{books}/imports?kind=items&format=csv", content=more.encode()), "items")
    two = {"items": [{"item_id": f"x{n}", "text": "thing"} for n in range(2)]}
    assert over(shop.writer.post(f"{books}/items", json=two), "items")
    assert shop.writer.put(f"{books}/items/x0", json={"text": "thing"}).status_code == 201
    assert over(shop.writer.put(f"{books}/items/x1", json={"text": "thing"}), "items")
    # What is there may still be changed and deleted.
    assert shop.writer.put(f"{books}/items/x0", json={"text": "other"}).status_code == 200
    assert shop.writer.delete(f"{books}/items/x0").status_code == 204
    imports = f"{books}/imports?kind=interactions&format=csv"
    assert over(shop.writer.post(imports, content=events.encode()), "interactions")
    assert shop.operator.post(f"{admin}/training-jobs").status_code == 202
    assert over(shop.operator.post(f"{admin}/training-jobs"), "jobs")
    weights = adapter_bytes(backbone[1], 1)  # type: ignore[arg-type]
    assert over(shop.operator.post(f"{admin}/adapters", content=weights), "bytes")
    shown = platform.get(f"/v1/admin/tenants/{shop.tenant}").json()["usage"]
    assert shown == {"channels": 1, "items": 30, "interactions": 24, "jobs": 1, "bytes": 0}
    assert [i["status"] for i in shop.reader.get(f"{books}/imports").json()] == ["ACCEPTED"] * 2


def test_images_count_in_bytes(shop: Shop, platform: httpx.Client) -> None:
    shop.operator.post("/v1/admin/channels", json={"name": "films", "modality": "image"})
    items = {"items": [{"item_id": item_id, "text": "film"} for item_id in ("a", "b")]}
    shop.writer.post("/v1/channels/films/items", json=items)
    first, second = picture(1), picture(2)
    limit(platform, shop, bytes=len(first))
    assert shop.writer.put("/v1/channels/films/items/a/image", content=first).status_code == 201
    assert is_problem(shop.writer.put("/v1/channels/films/items/b/image", content=second), 429)
    assert shop.writer.delete("/v1/channels/films/items/a/image").status_code == 204
    usage = platform.get(f"/v1/admin/tenants/{shop.tenant}").json()["usage"]
    assert usage["bytes"] == 0


def flood(ask: Callable[[], httpx.Response]) -> list[httpx.Response]:
    """Forty requests, eight at a time: faster than five a second on any machine."""
    with ThreadPoolExecutor(8) as threads:
        return list(threads.map(lambda _: ask(), range(40)))


def test_requests_a_second(shop: Shop, platform: httpx.Client) -> None:
    limit(platform, shop, requests_per_second=5)
    asks: list[Callable[[], httpx.Response]] = [
        lambda: shop.reader.get("/v1/channels"),
        lambda: shop.reader.get("/v1/channels/nowhere"),
        lambda: shop.reader.post(REC, json={"history": ["i1"]}),
        lambda: shop.operator.post("/v1/admin/channels/books/releases/rollback"),
    ]
    for ask in asks:
        answers = flood(ask)
        refused = [answer for answer in answers if answer.status_code == 429]
        assert 0 < len(refused) < len(answers)
        for answer in refused:
            assert is_problem(answer, 429)
            assert answer.headers["retry-after"] == "1"
            assert "5 requests a second" in answer.json()["detail"]
        time.sleep(1.1)
    # The platform's operator is not held up, and takes the limit away.
    for _ in range(20):
        assert platform.get(f"/v1/channels/books?tenant={shop.tenant}").status_code == 200
    limit(platform, shop, requests_per_second=None)
    assert {shop.reader.get("/v1/channels").status_code for _ in range(30)} == {200}


def test_a_deleted_tenant_is_gone(server: Server, shop: Shop, platform: httpx.Client) -> None:
    path = f"/v1/admin/tenants/{shop.tenant}"
    assert shop.reader.post(REC, json={"history": ["i1"]}).status_code == 200
    assert is_problem(platform.delete(path), 422)
    assert is_problem(platform.delete(path, params={"confirm": "other"}), 422)
    assert is_problem(shop.operator.delete(path, params={"confirm": shop.tenant}), 403)
    assert shop.reader.get("/v1/channels").status_code == 200
    assert platform.delete(path, params={"confirm": shop.tenant}).status_code == 204
    assert is_problem(shop.reader.post(REC, json={"history": ["i1"]}), 401)
    assert is_problem(shop.reader.get("/v1/channels"), 401)
    assert is_problem(platform.get(path), 404)
    assert is_problem(platform.delete(path, params={"confirm": shop.tenant}), 404)
    wait_for(lambda: shop.channel_id not in server.app.state.engine.live)
    wait_for(lambda: not (server.settings.home / "releases" / shop.channel_id).exists())


def test_a_deleted_channel_is_gone_and_its_name_is_free(server: Server, shop: Shop) -> None:
    path = "/v1/admin/channels/books"
    assert shop.reader.post(REC, json={"history": ["i1"]}).status_code == 200
    assert is_problem(shop.operator.delete(path, params={"confirm": "films"}), 422)
    assert is_problem(shop.writer.delete(path, params={"confirm": "books"}), 403)
    assert shop.operator.delete(path, params={"confirm": "books"}).status_code == 204
    assert is_problem(shop.reader.post(REC, json={"history": ["i1"]}), 404)
    wait_for(lambda: shop.channel_id not in server.app.state.engine.live)
    assert shop.operator.post("/v1/admin/channels", json={"name": "books"}).status_code == 201
    assert shop.reader.get("/v1/channels/books").json()["items"] == 0
    send(shop.writer, "items", "item_id,text\ni1,thing\ni2,thing\n")
    wait_for(lambda: shop.reader.post(REC, json={"history": ["i1"]}).status_code == 200)


def test_settings_are_the_defaults() -> None:
    asked = Settings.model_validate(
        {
            f"quota_{name}": n
            for n, name in enumerate(("channels", "items", "interactions", "jobs", "bytes"), 1)
        }
        | {"requests_per_second": 6}
    )
    limits = limits_of(asked)
    assert [limits.channels, limits.items, limits.interactions, limits.jobs, limits.bytes] == [1, 2, 3, 4, 5]
    assert limits.requests_per_second == 6


@pytest.mark.parametrize("limits", [{"items": 0}, {"items": None}])
def test_a_limit_can_be_lifted(shop: Shop, platform: httpx.Client, limits: dict[str, int | None]) -> None:
    limit(platform, shop, items=1)
    assert is_problem(shop.writer.put("/v1/channels/books/items/x", json={"text": "a"}), 429)
    limit(platform, shop, **limits)
    assert shop.writer.put("/v1/channels/books/items/x", json={"text": "a"}).status_code == 201


def test_a_stranger_sees_no_tenant(server: Server, shop: Shop, platform: httpx.Client) -> None:
    other = platform.post("/v1/admin/tenants", json={"name": f"o{shop.tenant}"}).json()["name"]
    secret = platform.post(f"/v1/admin/tenants/{other}/keys", json={"role": "operator"}).json()["secret"]
    with client(server.url, secret) as foreign:
        assert is_problem(foreign.get(f"/v1/admin/tenants/{shop.tenant}"), 404)
        assert foreign.get(f"/v1/admin/tenants/{other}").status_code == 200
