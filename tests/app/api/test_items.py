"""Items, written one at a time or a few at once."""

import json
from typing import Any

import httpx
import pytest

from app.store.wake import Wake
from tests.app.api.conftest import Server, Shop, client, is_problem, wait_for

BOOKS = "/v1/channels/books"
ITEMS = f"{BOOKS}/items"
JSON = {"content-type": "application/json"}


def generation(shop: Shop) -> int:
    return int(shop.reader.get(BOOKS).json()["generation"])


def wait_until_served(shop: Shop) -> None:
    def is_served() -> bool:
        channel = shop.reader.get(BOOKS).json()
        return bool(channel["serving"]["generation"] == channel["generation"])

    wait_for(is_served)


def recommended(shop: Shop, **body: object) -> list[str]:
    answer = shop.reader.post(f"{BOOKS}/recommendations", json={"count": 100, **body})
    assert answer.status_code == 200, answer.text
    return [item["item_id"] for item in answer.json()["items"]]


@pytest.mark.parametrize(
    ("path", "item_id"), [("new", "new"), ("a%2Fb", "a/b"), ("a/b", "a/b"), ("%C3%A4", "ä")]
)
def test_put(shop: Shop, path: str, item_id: str) -> None:
    before, body = generation(shop), {"text": "a new thing", "attributes": {"price": 1.5, "none": None}}
    item = {"item_id": item_id, "text": "a new thing", "attributes": {"price": 1.5}}
    for content, status, expected, risen in (
        (body, 201, item, 1),
        (body, 200, item, 1),
        ({"text": "another"}, 200, item | {"text": "another", "attributes": {}}, 2),
    ):
        answer = shop.writer.put(f"{ITEMS}/{path}", json=content)
        assert (answer.status_code, answer.json()) == (status, expected)
        assert shop.reader.get(f"{ITEMS}/{path}").json() == expected
        assert generation(shop) == before + risen


def test_patch(shop: Shop) -> None:
    before = generation(shop)
    for body, text, attributes, risen in (
        ({}, "thing 1 of kind 1", {"colour": "c1"}, 0),
        ({"text": "patched"}, "patched", {"colour": "c1"}, 1),
        ({"attributes": {"size": 3}}, "patched", {"colour": "c1", "size": 3}, 2),
        ({"attributes": {"colour": None}}, "patched", {"size": 3}, 3),
        ({"attributes": {"colour": None}, "text": "patched"}, "patched", {"size": 3}, 3),
    ):
        answer = shop.writer.patch(f"{ITEMS}/i1", json=body)
        assert answer.status_code == 200, answer.text
        assert answer.json() == {"item_id": "i1", "text": text, "attributes": attributes}
        assert shop.reader.get(f"{ITEMS}/i1").json() == answer.json()
        assert generation(shop) == before + risen
    assert is_problem(shop.writer.patch(f"{ITEMS}/nowhere", json={"text": "x"}), 404)
    for bad in ({"text": ""}, {"text": None}, {"attributes": None}, {"colour": "c1"}):
        assert is_problem(shop.writer.patch(f"{ITEMS}/i1", json=bad), 422)


def test_a_deleted_item_is_recommended_no_more_and_can_come_back(shop: Shop) -> None:
    assert "i5" in recommended(shop, user_id="nobody")
    assert shop.writer.delete(f"{ITEMS}/i5").status_code == 204
    before = generation(shop)
    assert is_problem(shop.writer.delete(f"{ITEMS}/i5"), 404)
    assert is_problem(shop.reader.get(f"{ITEMS}/i5"), 404)
    assert generation(shop) == before
    wait_until_served(shop)
    for body in ({"user_id": "nobody"}, {"user_id": "u2", "exclude_seen": False}, {"history": ["i1"]}):
        assert "i5" not in recommended(shop, **body)
    assert shop.writer.put(f"{ITEMS}/i5", json={"text": "thing 5 again"}).status_code == 201
    wait_until_served(shop)
    assert "i5" in recommended(shop, user_id="u2", exclude_seen=False)


def test_a_new_text_is_encoded(shop: Shop) -> None:
    shop.writer.put(f"{ITEMS}/bread", json={"text": "fresh bread"})
    shop.writer.patch(f"{ITEMS}/bread", json={"text": "thing 7 of kind 2"})
    wait_until_served(shop)
    nearest = shop.reader.get(f"{ITEMS}/bread/similar").json()["items"][0]
    assert nearest["item_id"] == "i7"  # the same text
    assert nearest["score"] == pytest.approx(1, abs=1e-3)


def test_several(shop: Shop) -> None:
    before = generation(shop)
    items = [{"item_id": f"n{n}", "text": f"new {n}", "attributes": {"n": n}} for n in range(999)]
    items.append({"item_id": "i0", "text": "thing 0, changed"})
    for inserted, updated, unchanged in ((999, 1, 0), (0, 0, 1000)):
        answer = shop.writer.post(ITEMS, json={"items": items})
        assert answer.status_code == 200, answer.text
        assert answer.json() == {"inserted": inserted, "updated": updated, "unchanged": unchanged}
        assert generation(shop) == before + 1
    assert shop.reader.get(f"{ITEMS}/n7").json()["attributes"] == {"n": 7}
    answer = shop.writer.post(f"{ITEMS}/delete", json={"item_ids": ["n7", "n7", "n8", "nowhere"]})
    assert (answer.status_code, answer.json()) == (200, {"deleted": 2})
    assert shop.writer.post(f"{ITEMS}/delete", json={"item_ids": ["n7"]}).json() == {"deleted": 0}
    assert generation(shop) == before + 2
    assert is_problem(shop.reader.get(f"{ITEMS}/n7"), 404)


def test_a_bad_one_among_several_stores_none(shop: Shop) -> None:
    before = generation(shop)
    items = [
        {"item_id": "n1", "text": "good"},
        {"item_id": "n2 ", "text": "x"},
        {"item_id": "n3", "text": ""},
    ]
    answer = shop.writer.post(ITEMS, json={"items": items})
    assert is_problem(answer, 422)
    assert [error["field"] for error in answer.json()["errors"]] == ["body.items.1", "body.items.2"]
    assert is_problem(shop.reader.get(f"{ITEMS}/n1"), 404)
    assert generation(shop) == before


def test_ids_that_have_no_page(shop: Shop) -> None:
    """Their path is another route's: they are written and deleted by the routes for several."""
    items = [{"item_id": f"n/{end}", "text": "x"} for end in ("image", "similar")]
    assert shop.writer.post(ITEMS, json={"items": items}).json()["inserted"] == 2
    ids = {"item_ids": ["n/image", "n/similar"]}
    assert shop.writer.post(f"{ITEMS}/delete", json=ids).json() == {"deleted": 2}


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"nonsense",
        b"[]",
        b'{"attributes": {}}',
        b'{"text": 5}',
        b'{"text": " "}',
        b'{"text": "x", "colour": "red"}',
        b'{"text": "x", "attributes": []}',
        b'{"text": "x", "attributes": {"text": "y"}}',
        b'{"text": "x", "attributes": {"item_id": "y"}}',
        b'{"text": "x", "attributes": {"a": NaN}}',
        b'{"text": "x", "attributes": {"a": [NaN]}}',
        b'{"text": "x", "attributes": {"a": -Infinity}}',
        b'{"text": "x", "attributes": {"a": 1e999}}',
        rb'{"text": "x\u0000"}',
        rb'{"text": "x", "attributes": {"a\u0000": 1}}',
        rb'{"text": "\ud800"}',
        rb'{"text": "x", "attributes": {"a": "\ud800"}}',
        rb'{"text": "x", "attributes": {"\ud800": 1}}',
        rb'{"text": "x", "\ud800": 1}',
        b'{"text": "x", "attributes": {"a": ' + b"[" * 33 + b"]" * 33 + b"}}",
        b'{"text": "x", "attributes": {"a": ' + b"[" * 300 + b"]" * 300 + b"}}",
        b'{"text": "' + b"x" * 10_001 + b'"}',
        b'{"text": "x", "attributes": {"a": "' + b"x" * 100_001 + b'"}}',
    ],
)
def test_content_that_is_refused(shop: Shop, content: bytes) -> None:
    for method, path, body in (
        ("PUT", f"{ITEMS}/bad", content),
        ("POST", ITEMS, b'{"items": [{"item_id": "bad", ' + content[1:] + b"]}"),
    ):
        answer = shop.writer.request(method, path, content=body, headers=JSON)
        assert is_problem(answer, 422)
        assert is_problem(shop.reader.get(f"{ITEMS}/bad"), 404)


@pytest.mark.parametrize(
    ("method", "path", "content", "status"),
    [
        ("PUT", f"{ITEMS}/{'x' * 129}", b'{"text": "x"}', 422),
        ("PUT", f"{ITEMS}/%20x", b'{"text": "x"}', 422),
        ("PUT", f"{ITEMS}/", b'{"text": "x"}', 422),
        ("PUT", f"{ITEMS}/x%00", b'{"text": "x"}', 404),
        (
            "PUT",
            f"{ITEMS}/x",
            b'{"text": "x", "attributes": {"a": ' + b"[" * 400_000 + b"]" * 400_000 + b"}}",
            400,
        ),
        ("PUT", f"{ITEMS}/x", b'{"text": "' + b"x" * 2**20 + b'"}', 413),
        ("PUT", f"{ITEMS}/x/imports", b'{"text": "' + b"x" * 2**20 + b'"}', 413),
        ("PATCH", f"{ITEMS}/x/image", b'{"text": "' + b"x" * 2**20 + b'"}', 413),
        ("DELETE", f"{ITEMS}/x%00", b"", 404),
        ("POST", ITEMS, b'{"items": []}', 422),
        ("POST", ITEMS, b'{"items": [' + b"{}," * 1000 + b"{}]}", 422),
        ("POST", ITEMS, b'{"items": [{"item_id": 5, "text": "x"}]}', 422),
        ("POST", f"{ITEMS}/delete", b'{"item_ids": []}', 422),
        ("POST", f"{ITEMS}/delete", rb'{"item_ids": ["\u0000"]}', 422),
        ("PUT", "/v1/channels/nowhere/items/x", b'{"text": "x"}', 404),
    ],
)
def test_requests_that_are_refused(shop: Shop, method: str, path: str, content: bytes, status: int) -> None:
    before = generation(shop)
    assert is_problem(shop.writer.request(method, path, content=content, headers=JSON), status)
    assert generation(shop) == before


def test_roles_and_tenants(server: Server, shop: Shop, platform: httpx.Client) -> None:
    other = platform.post("/v1/admin/tenants", json={"name": f"o{shop.tenant}"}).json()["name"]
    secret = platform.post(f"/v1/admin/tenants/{other}/keys", json={"role": "operator"}).json()["secret"]
    item: dict[str, Any] = {"text": "x", "attributes": {}}
    with client(server.url, secret) as foreign, client(server.url, None) as anyone:
        for who, status in ((shop.reader, 403), (foreign, 404), (anyone, 401)):
            for method, path, body in (
                ("PUT", f"{ITEMS}/i1", item),
                ("PATCH", f"{ITEMS}/i1", item),
                ("DELETE", f"{ITEMS}/i1", None),
                ("POST", ITEMS, {"items": [item | {"item_id": "i1"}]}),
                ("POST", f"{ITEMS}/delete", {"item_ids": ["i1"]}),
            ):
                content = json.dumps(body) if body else b""
                assert is_problem(who.request(method, path, content=content, headers=JSON), status)
    assert shop.reader.get(f"{ITEMS}/i1").json()["text"] == "thing 1 of kind 1"
    assert platform.delete(f"{ITEMS}/i1?tenant={shop.tenant}").status_code == 204


def test_other_processes_are_woken_by_changes_alone(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    woken: list[str] = []
    monkeypatch.setattr(Wake, "releases", lambda _, channel_id: woken.append(channel_id))
    thing = {"text": "a new thing"}
    for method, path, body, calls in (
        ("PUT", "/new", thing, 1),
        ("PUT", "/new", thing, 0),
        ("PUT", "/new", {"text": " "}, 0),
        ("PATCH", "/new", {"text": "another"}, 1),
        ("PATCH", "/new", {"text": "another"}, 0),
        ("POST", "", {"items": [{"item_id": "more", **thing}]}, 1),
        ("POST", "", {"items": [{"item_id": "more", **thing}]}, 0),
        ("POST", "/delete", {"item_ids": ["more"]}, 1),
        ("POST", "/delete", {"item_ids": ["more"]}, 0),
        ("DELETE", "/new", None, 1),
        ("DELETE", "/new", None, 0),
    ):
        woken.clear()
        shop.writer.request(method, f"{ITEMS}{path}", json=body)
        assert woken == [shop.channel_id] * calls, (method, path, body)
