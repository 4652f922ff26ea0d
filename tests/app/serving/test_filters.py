"""The language of filters."""

import json
from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from app.serving.filters import MOST_CONDITIONS, MOST_VALUES, Condition, Filter, canonical

READER: TypeAdapter[dict[str, Condition]] = TypeAdapter(Filter)


def read(filter_: object) -> str:
    return canonical(READER.validate_json(json.dumps(filter_)))


def test_the_same_conditions_have_the_same_text() -> None:
    text = read({"price": {"lt": 5, "gte": 1}, "colour": "red", "tags": {"any": ["a", "b"]}})
    assert text == read(
        {"colour": {"any": ["red"]}, "tags": {"any": ["a", "b"]}, "price": {"gte": 1.0, "lt": 5}}
    )
    assert json.loads(text) == {
        "colour": {"any": ["red"]},
        "price": {"gte": 1, "lt": 5},
        "tags": {"any": ["a", "b"]},
    }
    assert read({}) == ""
    assert read({"a": {"not": "x"}}) == read({"a": {"not": ["x"]}})
    assert read({"a": True}) != read({"a": 1}) != read({"a": "1"})
    assert READER.validate_json(text) == READER.validate_json(read(json.loads(text)))


@pytest.mark.parametrize(
    ("filter_", "where", "says"),
    [
        ({"a": None}, "a.any.0", "text, a number, true or false"),
        ({"a": [1]}, "a.any.0", "text, a number, true or false"),
        ({"a": {}}, "a", "name an operator"),
        ({"a": {"lt": None}}, "a", "name an operator"),
        ({"a": {"near": 1}}, "a.near", "not permitted"),
        ({"a": {"lt": "5"}}, "a.lt", "valid number"),
        ({"a": {"gte": True}}, "a.gte", "valid number"),
        ({"a": {"any": []}}, "a.any", "at least 1"),
        ({"a": {"any": "x"}}, "a.any", "valid list"),
        ({"a": {"any": [{"b": 1}]}}, "a.any.0", "text, a number, true or false"),
        ({"a": {"any": [0] * (MOST_VALUES + 1)}}, "a.any", "at most 100"),
        ({"a": {"not": [[]]}}, "a.not.0", "text, a number, true or false"),
        ({"a": {"exists": 1}}, "a.exists", "valid boolean"),
        ({"a": "x" * 1001}, "a.any.0", "at most 1000 characters"),
        ({"a": 10**400}, "a.any.0", "too large"),
        ({"a" * 1001: 1}, "a" * 1001 + ".[key]", "at most 1000 characters"),
        ({f"a{n}": n for n in range(MOST_CONDITIONS + 1)}, "", "at most 20"),
    ],
)
def test_what_is_wrong_is_named(filter_: object, where: str, says: str) -> None:
    with pytest.raises(ValidationError) as caught:
        READER.validate_python(filter_)
    error = caught.value.errors()[0]
    assert ".".join(map(str, error["loc"])) == where
    assert says in error["msg"]


def test_numbers_that_are_none_are_refused() -> None:
    for text in ('{"a": NaN}', '{"a": Infinity}', '{"a": {"lt": NaN}}', '{"a": {"any": [-Infinity]}}'):
        with pytest.raises(ValidationError):
            READER.validate_json(text)


def test_the_schema_says_what_is_taken() -> None:
    schema: dict[str, Any] = READER.json_schema()
    value, operators = schema["$defs"]["Condition"]["anyOf"][:3], schema["$defs"]["Condition"]["anyOf"][3]
    assert [each["type"] for each in value] == ["string", "number", "boolean"]
    assert set(operators["properties"]) == {"any", "not", "gt", "gte", "lt", "lte", "exists"}
    assert operators["properties"]["lt"]["type"] == "number"
    assert operators["additionalProperties"] is False
