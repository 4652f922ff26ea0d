"""Items as a map, and the statistics of a channel."""

from typing import Any

import httpx
import numpy as np
import pytest

from app.serving.projection import project
from tests.app.api.conftest import Server, Shop, client, is_problem, send, serves, wait_for

MAP = "/v1/admin/channels/{}/releases/0/map"


def get(api: httpx.Client, channel: str = "books", **query: object) -> dict[str, Any]:
    answer = api.get(MAP.format(channel), params=query)  # type: ignore[arg-type]
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def test_by_interactions_and_by_an_attribute(shop: Shop) -> None:
    found = get(shop.operator)
    assert (found["items"], len(found["points"]), found["by"]) == (30, 30, None)
    assert {group["name"]: group["items"] for group in found["groups"]} == {"0": 20, "1-9": 10}
    assert found["attributes"] == ["colour"]
    assert 0 < found["shares"][1] <= found["shares"][0] < 1
    point = next(p for p in found["points"] if p["item_id"] == "i7")
    assert (point["title"], point["group"], point["interactions"]) == ("thing 7 of kind 2", "1-9", 2)
    assert get(shop.operator) == found
    by = get(shop.operator, by="colour")
    assert {group["name"]: group["items"] for group in by["groups"]} == {"c0": 10, "c1": 10, "c2": 10}
    assert [(p["item_id"], p["x"]) for p in by["points"]] == [(p["item_id"], p["x"]) for p in found["points"]]
    assert len(get(shop.operator, limit=5)["points"]) == 5
    assert get(shop.operator, by="nothing")["groups"] == [{"name": "without", "items": 30}]


def test_only_the_most_frequent_values_have_a_group(shop: Shop) -> None:
    rows = "".join(f"m{n},many {n},v{n % 12}\n" for n in range(36))
    send(shop.writer, "items", f"item_id,text,kind\n{rows}")
    wait_for(lambda: serves(shop.reader, 0, 3))
    groups = get(shop.operator, by="kind")["groups"]
    assert [group["items"] for group in groups[:7]] == [3] * 7  # "without" is among the eight
    assert {groups[-1]["name"], groups[-2]["name"]} == {"without", "other"}


@pytest.mark.parametrize("items", [0, 1, 2])
def test_few_items(shop: Shop, items: int) -> None:
    shop.operator.post("/v1/admin/channels", json={"name": "few"})
    text = "item_id,text\n" + "".join(f"i{n},thing {n}\n" for n in range(items))
    if items:
        assert shop.writer.post("/v1/channels/few/imports?kind=items&format=csv", content=text).is_success

    def is_served() -> bool:
        answer = shop.operator.get(MAP.format("few"))
        return bool(answer.status_code == 200 and answer.json()["items"] == items)

    wait_for(is_served)
    found = get(shop.operator, "few")
    assert len(found["points"]) == items
    assert found["shares"] == pytest.approx([float(items == 2), 0], abs=1e-6)


def test_what_is_refused(server: Server, shop: Shop, platform: httpx.Client) -> None:
    answer = shop.operator.get("/v1/admin/channels/books/releases/7/map")
    assert is_problem(answer, 404)
    assert "version 0" in answer.json()["detail"]
    for query in ({"limit": 0}, {"limit": 5001}, {"by": "x" * 1001}):
        assert is_problem(shop.operator.get(MAP.format("books"), params=query), 422)
    assert is_problem(shop.writer.get(MAP.format("books")), 403)
    other = platform.post("/v1/admin/tenants", json={"name": f"o{shop.tenant}"}).json()["name"]
    secret = platform.post(f"/v1/admin/tenants/{other}/keys", json={"role": "operator"}).json()["secret"]
    with client(server.url, secret) as stranger:
        assert is_problem(stranger.get(MAP.format("books")), 404)
        assert is_problem(stranger.get("/v1/channels/books/statistics"), 404)


def test_the_plane_keeps_as_much_as_a_plane_can() -> None:
    vectors = np.random.default_rng(0).normal(size=(50, 8)).astype(np.float32)
    points, shares = project(vectors)
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    singular = np.linalg.svd(unit - unit.mean(0), compute_uv=False) ** 2
    assert shares == pytest.approx(singular[:2] / singular.sum(), rel=1e-4)
    assert (points**2).sum(0) == pytest.approx(singular[:2], rel=1e-4)
    assert project(3 * vectors)[0] == pytest.approx(points, abs=1e-5)  # lengths do not count
    assert project(np.ones((4, 8), np.float32))[1] == (0, 0)


def test_statistics(shop: Shop) -> None:
    found = shop.reader.get("/v1/channels/books/statistics").json()
    assert (found["items"], found["interactions"], found["users"], found["cold"]) == (30, 24, 3, 20)
    assert found["first"].startswith("1970-01-01T00:16:40")
    assert found["periods"] == [{"start": "1970-01-01", "interactions": 24}]
    assert found["attributes"] == [{"name": "colour", "items": 30}]
    assert shop.writer.delete("/v1/channels/books/items/i0").status_code == 204
    assert shop.reader.get("/v1/channels/books/statistics").json()["items"] == 29


def test_the_newest_imports(shop: Shop) -> None:
    send(shop.writer, "items", "item_id,text\nnew,thing\n")
    path = "/v1/channels/books/imports"
    assert [i["rows"] for i in shop.reader.get(path, params={"limit": 1}).json()] == [1]
    assert len(shop.reader.get(path).json()) == 3
    assert is_problem(shop.reader.get(path, params={"limit": 0}), 422)
