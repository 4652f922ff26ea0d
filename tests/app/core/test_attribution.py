"""Ids of recommendations."""

import time

import pytest

from app.core.attribution import Origin, Variant, new_recommendation_id, origin_of


@pytest.mark.parametrize("variant", ["champion", "challenger"])
def test_an_id_says_where_it_comes_from(variant: Variant) -> None:
    before = time.time_ns() // 1_000_000
    first, second = new_recommendation_id(variant, 12), new_recommendation_id(variant, 12)
    assert first != second
    origin = origin_of(first)
    assert origin is not None
    assert origin == Origin(origin.at, variant, 12)
    assert before <= origin.at <= time.time_ns() // 1_000_000


@pytest.mark.parametrize(
    "text",
    ["", "rec_", "rec_019a8d3f5c108f1c2a9b04e7d6a1x3", "rec_019a8d3f5c108f1c2a9b04e7d6a1c9999999999", "c1"],
)
def test_what_is_no_id(text: str) -> None:
    assert origin_of(text) is None
