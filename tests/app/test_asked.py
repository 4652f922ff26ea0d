"""What is asked in the playground, and the addresses that say it."""

from urllib.parse import urlsplit

import pytest
from starlette.datastructures import QueryParams

from app.console.asked import MOST_ITEMS, MOST_PAGES, Asked

FULL = Asked(
    items=("a/1", "b&c=d", "ü ☃", "a/1"),
    count=7,
    seen=True,
    filters=(("price", "gte", "2"), ("colour", "is", "red"), ("new", "exists", "")),
    limits=(("brand", 2),),
    version=0,
    pages=3,
    similar="x?y",
)


def read(address: str) -> Asked:
    return Asked.of(QueryParams(urlsplit(address).query))


@pytest.mark.parametrize("asked", [Asked(), FULL, Asked(user="o'hara/1 é")])
def test_an_address_says_all_of_it(asked: Asked) -> None:
    assert read(asked.query) == asked


def test_nonsense_is_left_out() -> None:
    query = "?count=x&pages=-1&v=y&attribute=a&is=near&value=1&limit_of=&limit=2&similar=" + "s" * 200
    found = read(query + "&item=a" * 100)
    assert (found.count, found.pages, found.version, found.filters, found.limits) == (10, 1, 0, (), ())
    assert len(found.items) == MOST_ITEMS
    assert len(found.similar) == 128
    assert read("?count=1000&pages=99").pages == MOST_PAGES


@pytest.mark.parametrize(
    ("act", "items"),
    [
        ("add:z:1", ("a", "b", "c", "z:1")),
        ("up:2", ("a", "c", "b")),
        ("up:0", ("a", "b", "c")),
        ("down:0", ("b", "a", "c")),
        ("down:2", ("a", "b", "c")),
        ("remove:1", ("a", "c")),
        ("remove:9", ("a", "b", "c")),
        ("remove:x", ("a", "b", "c")),
        ("clear", ()),
        ("user:u", ()),
        ("explode:1", ("a", "b", "c")),
    ],
)
def test_acts_on_a_history(act: str, items: tuple[str, ...]) -> None:
    assert Asked(items=("a", "b", "c")).done(act).items == items


def test_another_question_begins_at_its_first_page() -> None:
    assert FULL.done("add:n").pages == 1
    assert FULL.done("add:n").similar == ""
    assert FULL.done("more").pages == 4
    assert FULL.done("more").similar == "x?y"
    assert Asked(pages=MOST_PAGES).done("more").pages == MOST_PAGES


def test_a_long_history_keeps_its_newest_items() -> None:
    asked = Asked(items=tuple(f"i{n}" for n in range(MOST_ITEMS)))
    assert asked.done("add:new").items == (*asked.items[1:], "new")


def test_rows_become_a_filter() -> None:
    rows = (
        ("price", "gte", "1"),
        ("price", "lt", "5.5"),
        ("colour", "is", "red"),
        ("colour", "is", "7"),
        ("brand", "not", "x"),
        ("stock", "exists", ""),
        ("old", "lacks", "whatever"),
        ("unfinished", "is", ""),
        ("size", "lte", "much"),
        ("odd", "is", "nan"),
    )
    assert Asked(filters=rows).body["filter"] == {
        "price": {"gte": 1.0, "lt": 5.5},
        "colour": {"any": ["red", 7.0]},
        "brand": {"not": ["x"]},
        "stock": {"exists": True},
        "old": {"exists": False},
        "size": {"lte": "much"},  # the API says what is wrong with it
        "odd": {"any": ["nan"]},
    }
