"""The rules for one row."""

from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import pytest

from app.store.catalog import ItemRow
from app.store.events import InteractionRow
from app.store.rows import BadRow, parse_interaction, parse_item, parse_timestamp

MOMENT = 1_700_000_000_000  # 2023-11-14T22:13:20Z


@pytest.mark.parametrize(
    "value",
    [
        1_700_000_000,
        1_700_000_000.0,
        MOMENT,
        Decimal(1_700_000_000),
        "1700000000",
        " 1700000000.0 ",
        "1700000000000",
        "2023-11-14T22:13:20Z",
        "2023-11-14 22:13:20",
        "2023-11-15T00:13:20+02:00",
        datetime(2023, 11, 14, 22, 13, 20),
        datetime(2023, 11, 14, 23, 13, 20, tzinfo=timezone(timedelta(hours=1))),
    ],
)
def test_timestamps_of_all_kinds(value: object) -> None:
    assert parse_timestamp(value) == MOMENT


def test_timestamps_keep_milliseconds() -> None:
    assert parse_timestamp(0.001) == 1
    assert parse_timestamp("2023-11-14T22:13:20.123Z") == MOMENT + 123
    assert parse_timestamp(datetime(2023, 11, 14, 22, 13, 20, 999_999, UTC)) == MOMENT + 999
    assert parse_timestamp(date(1970, 1, 2)) == 86_400_000


@pytest.mark.parametrize(
    "value",
    [
        None,
        "",
        "soon",
        "1_0",
        "1_0.5",
        True,
        [],
        -1,
        "1969-12-31",
        4_102_444_800,
        float("nan"),
        float("inf"),
        "1e999",
        10**400,
    ],
)
def test_bad_timestamps(value: object) -> None:
    with pytest.raises(BadRow, match="timestamp"):
        parse_timestamp(value)


def nested(levels: int) -> object:
    value: object = 1
    for _ in range(levels):
        value = [value]
    return value


def test_item() -> None:
    row = {"item_id": 7, "title": "T", "text": "X", "price": 1.5, "none": None, "nan": float("nan"), "": ""}
    assert parse_item(row) == ItemRow("7", "X", {"title": "T", "price": 1.5})
    assert parse_item({"item_id": "a", "title": "T"}) == ItemRow("a", "T")
    attributes = parse_item(
        {"item_id": "a", "text": "T", "on": date(2020, 1, 2), "d": Decimal("1.5")}
    ).attributes
    assert parse_item({"item_id": "a", "text": "T", "x": nested(32)}).attributes == {"x": nested(32)}
    assert attributes == {"on": "2020-01-02", "d": 1.5}


def test_what_looks_like_an_escape_is_text() -> None:
    for text in ("\\u0000", "\\\\u0000", "C:\\ud800"):
        assert parse_item({"item_id": "a", "text": "T", "x": text}).attributes == {"x": text}
    with pytest.raises(BadRow, match="NUL"):
        parse_item({"item_id": "a", "text": "T", "x": "\\\0"})


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"item_id": ""}, "item_id is empty"),
        ({"item_id": None}, "item_id is empty"),
        ({"item_id": 1.5}, "neither text nor a whole number"),
        ({"item_id": True}, "neither text nor a whole number"),
        ({"item_id": " a"}, "white space"),
        ({"item_id": "a" * 129}, "longer than 128"),
        ({"item_id": "a\0b"}, "NUL"),
        ({"item_id": "\ud800"}, "surrogate"),
        ({"text": " "}, "text is empty"),
        ({"text": None}, "text is empty"),
        ({"text": 5}, "text is empty"),
        ({"text": "a" * 10_001}, "longer than 10000"),
        ({"text": "a\0"}, "NUL"),
        ({"text": "\udc00"}, "surrogate"),
        ({"x": float("inf")}, "JSON"),
        ({"x": b"bytes"}, "JSON"),
        ({"x": "\0"}, "NUL"),
        ({"x": ["\ud800"]}, "surrogate"),
        ({"x": "y" * 100_001}, "longer than"),
        ({"x": nested(33)}, "deeper than 32"),
        ({"x": {"y": nested(32)}}, "deeper than 32"),
        ({"x": nested(500)}, "deeper than 32"),
    ],
)
def test_bad_items(change: dict[str, Any], reason: str) -> None:
    with pytest.raises(BadRow, match=reason):
        parse_item({"item_id": "a", "text": "T"} | change)


def test_interaction() -> None:
    row = {"user_id": 1, "item_id": "a", "timestamp": 1}
    assert parse_interaction(row) == InteractionRow("1", "a", 1000)
    for name in row:
        with pytest.raises(BadRow, match=name):
            parse_interaction(row | {name: None})
