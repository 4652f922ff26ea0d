"""What a channel is for, said anew."""

import httpx
import pytest

from tests.app.api.conftest import Shop, is_problem

ADMIN = "/v1/admin/channels/books"


def described(shop: Shop) -> str:
    return str(shop.reader.get("/v1/channels/books").json()["description"])


def test_a_description_is_changed_and_nothing_else(shop: Shop, platform: httpx.Client) -> None:
    before = shop.reader.get("/v1/channels/books").json()
    for text in ("all that is read ☃", "all that is read ☃", ""):  # the same again, and none
        answer = shop.operator.patch(ADMIN, json={"description": text})
        assert answer.status_code == 200
        assert answer.json()["description"] == described(shop) == text
    assert shop.reader.get("/v1/channels/books").json() == before
    entry = platform.get("/v1/admin/audit", params={"limit": 1}).json()[0]
    assert (entry["action"], entry["channel"], entry["status"]) == ("patch_channel", "books", 200)
    assert entry["detail"]["body"] == {"description": ""}


def test_it_is_found_by_the_overview(shop: Shop) -> None:
    assert shop.operator.patch(ADMIN, json={"description": "incunables"}).is_success
    found = shop.operator.get("/v1/admin/overview", params={"search": "incunables"}).json()
    assert [channel["name"] for channel in found["channels"]] == ["books"]


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"description": None},
        {"description": "a" * 1001},
        {"description": "a\0b"},
        {"description": "x", "name": "other"},
        {"description": "x", "modality": "image"},
    ],
)
def test_what_cannot_be_changed_changes_nothing(shop: Shop, body: dict[str, object]) -> None:
    assert shop.operator.patch(ADMIN, json={"description": "as it was"}).is_success
    assert is_problem(shop.operator.patch(ADMIN, json=body), 422)
    assert described(shop) == "as it was"


def test_who_may_not(shop: Shop, platform: httpx.Client) -> None:
    body = {"description": "x"}
    for low in (shop.reader, shop.writer):
        assert is_problem(low.patch(ADMIN, json=body), 403)
    assert is_problem(shop.operator.patch("/v1/admin/channels/nowhere", json=body), 404)
    assert is_problem(platform.patch(ADMIN, json=body), 422)  # it names no tenant
    assert platform.patch(ADMIN, params={"tenant": shop.tenant}, json=body).is_success
    assert described(shop) == "x"
