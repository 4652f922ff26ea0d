"""The rules for one event."""

from typing import Any

import pytest

from app.core.attribution import new_recommendation_id
from app.store.event_rows import MAX_AHEAD, parse_events

NOW = 1_700_000_000_000
GOOD = {"user_id": "u", "item_id": "a"}


def test_what_is_left_out_and_what_is_said() -> None:
    recommendation = new_recommendation_id("challenger", 3)
    full = {"event_id": 7, "timestamp": "2020-01-01T00:00:00Z", "recommendation_id": recommendation}
    (first, second), rejected = parse_events([GOOD, GOOD | full], NOW)
    assert not rejected
    assert (first.timestamp, first.event_id, first.recommendation_id, first.origin) == (NOW, None, None, None)
    assert (second.index, second.timestamp, second.event_id) == (1, 1_577_836_800_000, "7")
    assert second.recommendation_id == recommendation
    assert second.origin is not None
    assert (second.origin.variant, second.origin.version) == ("challenger", 3)


@pytest.mark.parametrize(
    ("event", "said"),
    [
        ("u", "no object"),
        (None, "no object"),
        ({}, "the user_id is empty"),
        (GOOD | {"user": "u"}, "no field 'user'"),
        (GOOD | {"item_id": None}, "the item_id is empty"),
        (GOOD | {"user_id": "u\0"}, "NUL"),
        (GOOD | {"user_id": "\ud800"}, "surrogate"),
        (GOOD | {"user_id": ["u"]}, "neither text nor"),
        (GOOD | {"event_id": ""}, "the event_id is empty"),
        (GOOD | {"event_id": "e" * 129}, "longer than 128"),
        (GOOD | {"timestamp": "noon"}, "neither a number nor"),
        (GOOD | {"timestamp": float("nan")}, "not a finite"),
        (GOOD | {"timestamp": -1}, "out of range"),
        (GOOD | {"timestamp": NOW + MAX_AHEAD + 1}, "24 hours ahead"),
        (GOOD | {"recommendation_id": "rec_1"}, "recommendation_id"),
        (GOOD | {"recommendation_id": 5}, "recommendation_id"),
    ],
)
def test_a_bad_event_is_rejected_and_the_others_are_not(event: Any, said: str) -> None:
    rows, rejected = parse_events([GOOD, event, GOOD | {"timestamp": NOW + MAX_AHEAD}], NOW)
    assert [row.index for row in rows] == [0, 2]
    assert [each.index for each in rejected] == [1]
    assert said in rejected[0].reason


def test_a_users_id_is_not_repeated() -> None:
    _, rejected = parse_events([GOOD | {"user_id": " secret"}], NOW)
    assert "secret" not in rejected[0].reason
