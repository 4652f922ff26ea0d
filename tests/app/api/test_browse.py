"""Looking through a catalogue."""

import httpx
import pytest

from tests.app.api.conftest import Server, Shop, client, is_problem, send

ITEMS = "/v1/channels/books/items"
ODD = "item_id,text\n100%,ALL of it\na_b,under_score\nab,<script>alert(1)</script>\nslash/1,a\\b\n"


def ids(reader: httpx.Client, **query: object) -> list[str]:
    answer = reader.get(ITEMS, params=query)  # type: ignore[arg-type]
    assert answer.status_code == 200, answer.text
    return [item["item_id"] for item in answer.json()["items"]]


def test_pages_put_together_are_the_catalogue(shop: Shop) -> None:
    seen, after = list[str](), ""
    while True:
        page = shop.reader.get(ITEMS, params={"limit": 7, "after": after}).json()
        assert len(page["items"]) <= 7
        seen += [item["item_id"] for item in page["items"]]
        after = page["next"]
        if after is None:
            break
        assert after == seen[-1]
    assert seen == sorted(f"i{n}" for n in range(30))
    assert shop.reader.get(ITEMS, params={"limit": 1}).json()["items"] == [
        {"item_id": "i0", "text": "thing 0 of kind 0", "attributes": {"colour": "c0"}, "has_image": False}
    ]


@pytest.mark.parametrize(
    ("search", "found"),
    [
        ("THING 7 ", ["i7"]),
        ("I29", ["i29"]),
        ("kind 4", [f"i{n}" for n in (14, 19, 24, 29, 4, 9)]),
        ("c0", []),  # attributes are not searched
        ("%", ["100%"]),
        ("_", ["a_b"]),
        ("all OF", ["100%"]),
        ("\\", ["slash/1"]),
        ("<script>", ["ab"]),
        ("' OR 1=1 --", []),
    ],
)
def test_search(shop: Shop, search: str, found: list[str]) -> None:
    send(shop.writer, "items", ODD)
    assert ids(shop.reader, search=search) == found
    assert ids(shop.reader, search=search, limit=1) == found[:1]
    if found:
        assert ids(shop.reader, search=search, after=found[0]) == found[1:]


def test_what_is_refused(server: Server, shop: Shop, platform: httpx.Client) -> None:
    for query in ({"limit": 0}, {"limit": 501}, {"search": "x" * 1001}, {"after": "x" * 1001}):
        assert is_problem(shop.reader.get(ITEMS, params=query), 422)
    other = platform.post("/v1/admin/tenants", json={"name": f"o{shop.tenant}"}).json()["name"]
    secret = platform.post(f"/v1/admin/tenants/{other}/keys", json={"role": "reader"}).json()["secret"]
    with client(server.url, secret) as stranger:
        assert is_problem(stranger.get(ITEMS), 404)
