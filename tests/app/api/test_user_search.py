"""Looking for users over HTTP: operators alone."""

from urllib.parse import quote

import pytest

from tests.app.api.conftest import Shop, is_problem, send

USERS = "/v1/channels/books/users"


def test_users_and_what_they_met(shop: Shop) -> None:
    send(shop.writer, "interactions", "user_id,item_id,timestamp\no'hara/1 ü,i3,7\no'hara/1 ü,i4,9\n")
    assert shop.operator.get(USERS).json() == {"users": ["o'hara/1 ü", "u0", "u1", "u2"], "next": None}
    assert shop.operator.get(USERS, params={"search": "u", "limit": 2}).json() == {
        "users": ["u0", "u1"],
        "next": "u1",
    }
    assert shop.operator.get(USERS, params={"search": "u", "after": "u1"}).json()["users"] == ["u2"]
    (drawn,) = shop.operator.get(USERS, params={"random": True}).json()["users"]
    assert drawn in {"o'hara/1 ü", "u0", "u1", "u2"}
    answer = shop.operator.get(f"{USERS}/{quote('o' + chr(39) + 'hara/1 ü', safe='')}/history").json()
    assert answer["user_id"] == "o'hara/1 ü"
    assert [(i["item_id"], i["text"]) for i in answer["items"]] == [
        ("i4", "thing 4 of kind 4"),
        ("i3", "thing 3 of kind 3"),
    ]
    assert shop.operator.get(f"{USERS}/nobody/history").json()["items"] == []


@pytest.mark.parametrize("path", [USERS, f"{USERS}/u1/history"])
def test_users_are_for_operators(shop: Shop, path: str) -> None:
    for low in (shop.reader, shop.writer):
        assert is_problem(low.get(path), 403)


@pytest.mark.parametrize("query", [{"limit": 0}, {"limit": 101}, {"search": "x" * 1001}])
def test_bad_questions(shop: Shop, query: dict[str, str]) -> None:
    assert is_problem(shop.operator.get(USERS, params=query), 422)
