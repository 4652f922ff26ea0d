"""Filters on attributes and limits on items of one value, over HTTP."""

from collections import Counter
from typing import Any

import httpx
import pytest

from tests.app.api.conftest import Shop, is_problem, serves, wait_for

BOOKS = "/v1/channels/books/recommendations"


def asked(shop: Shop, **body: object) -> list[dict[str, Any]]:
    answer = shop.reader.post(BOOKS, json=body)
    assert answer.status_code == 200, answer.text
    found: list[dict[str, Any]] = answer.json()["items"]
    return found


def ids(items: list[dict[str, Any]]) -> list[str]:
    return [item["item_id"] for item in items]


@pytest.mark.parametrize("who", [{"history": ["i1", "i2"]}, {"user_id": "u0"}, {"user_id": "nobody"}])
def test_a_filter_keeps_the_order_and_the_count(shop: Shop, who: dict[str, Any]) -> None:
    whole = asked(shop, **who, count=30)
    red = asked(shop, **who, count=30, filter={"colour": "c1"})
    assert ids(red) == [item["item_id"] for item in whole if item["metadata"]["colour"] == "c1"]
    assert {item["reason"] for item in red} == {"cold_start" if who.get("user_id") == "nobody" else "model"}
    few = asked(shop, **who, count=3, filter={"colour": {"not": "c1"}}, exclude_item_ids=["i0", "i3", "i5"])
    rest = [item for item in whole if item["metadata"]["colour"] != "c1"]
    assert ids(few) == [i for i in ids(rest) if i not in ("i0", "i3", "i5")][:3]
    assert asked(shop, **who, filter={"colour": "c1", "maker": {"exists": True}}) == []
    assert len(asked(shop, **who, filter={"maker": {"exists": False}})) == 10


@pytest.mark.parametrize("who", [{"history": ["i1", "i2"]}, {"user_id": "nobody"}])
def test_at_most(shop: Shop, who: dict[str, Any]) -> None:
    whole = asked(shop, **who, count=30)
    counts, expected = Counter[str](), list[str]()
    for item in whole:
        counts[item["metadata"]["colour"]] += 1
        if counts[item["metadata"]["colour"]] <= 2:
            expected.append(item["item_id"])
    assert ids(asked(shop, **who, count=30, at_most={"colour": 2})) == expected
    assert ids(asked(shop, **who, count=4, at_most={"colour": 2, "maker": 1})) == expected[:4]
    assert len(asked(shop, **who, count=30, at_most={"colour": 2}, filter={"colour": "c1"})) == 2
    assert ids(asked(shop, **who, count=30, at_most={"maker": 1})) == ids(whole)


def test_numbers_of_a_csv_and_of_json_are_numbers(shop: Shop) -> None:
    send = "item_id,text,price\nc1,a cheap thing,4.99\nc2,a dear thing,12\n"
    imports = "/v1/channels/books/imports?kind=items&format=csv"
    assert shop.writer.post(imports, content=send.encode()).status_code == 201
    body = {"text": "a thing of lists", "attributes": {"price": [5, 30], "tags": ["new", "red"], "on": True}}
    assert shop.writer.put("/v1/channels/books/items/j1", json=body).status_code == 201
    wanted = shop.reader.get("/v1/channels/books").json()["generation"]

    def found(**filter_: object) -> set[str]:
        return set(ids(asked(shop, history=["i1"], count=50, filter=filter_)))

    wait_for(lambda: serves(shop.reader, 0, wanted))
    assert found(price={"lt": 5}) == {"c1"}
    assert found(price={"gte": 5, "lt": 13}) == {"c2", "j1"}
    assert found(price=12) == {"c2"}
    assert found(price="12") == {"c2"}
    assert found(tags={"any": ["red", "old"]}) == found(on=True) == {"j1"}
    assert len(found(price={"not": [12, 4.99]})) == 30  # all but those two and i1
    assert (
        shop.writer.patch("/v1/channels/books/items/c2", json={"attributes": {"price": 3}}).status_code == 200
    )
    wanted = shop.reader.get("/v1/channels/books").json()["generation"]
    wait_for(lambda: serves(shop.reader, 0, wanted))
    assert found(price={"lt": 5}) == {"c1", "c2"}


@pytest.mark.parametrize(
    ("body", "field", "says"),
    [
        ({"filter": {"price": {"near": 1}}}, "body.filter.price.near", "not permitted"),
        ({"filter": {"price": {"lt": "5"}}}, "body.filter.price.lt", "number"),
        ({"filter": {"price": None}}, "body.filter.price.any.0", "text, a number, true or false"),
        ({"filter": {f"a{n}": 1 for n in range(21)}}, "body.filter", "at most 20"),
        ({"filter": []}, "body.filter", "object"),
        ({"at_most": {"brand": 0}}, "body.at_most.brand", "greater than or equal to 1"),
        ({"at_most": {"brand": "2"}}, "body.at_most.brand", "integer"),
        ({"at_most": {"a": 1, "b": 1, "c": 1}}, "body.at_most", "at most 2"),
        ({"paged": "yes"}, "body.paged", "boolean"),
    ],
)
def test_what_is_wrong_is_named(shop: Shop, body: dict[str, Any], field: str, says: str) -> None:
    answer = shop.reader.post(BOOKS, json={"history": ["i1"], **body})
    assert is_problem(answer, 422)
    assert answer.json()["errors"][0]["field"] == field
    assert says in answer.json()["detail"]


def test_odd_text_in_a_filter_is_no_error(shop: Shop) -> None:
    for text in (b'"\\u0000"', b'"\\ud800"', '"\U0001f600"'.encode(), b"1e308", b"-0"):
        body = b'{"history":["i1"],"filter":{"colour":%b}}' % text
        answer: httpx.Response = shop.reader.post(BOOKS, content=body)
        assert answer.status_code in (200, 422)
        assert answer.status_code == 422 or answer.json()["items"] == []
