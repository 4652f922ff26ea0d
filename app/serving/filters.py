"""The language of filters: conditions on items' attributes, all of which must hold.

    {"colour": "red", "price": {"gte": 1, "lt": 5}, "tags": {"any": ["a", "b"]}, "brand": {"not": "x"}}

Pydantic reads it from a request; its canonical text names it in caches and between processes.
"""

import json
import sys
from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    GetJsonSchemaHandler,
    Strict,
    StrictBool,
    WithJsonSchema,
    model_validator,
)
from pydantic_core import CoreSchema

MOST_CONDITIONS, MOST_VALUES, LONGEST = 20, 100, 1000
_VALUE = [{"type": "string", "maxLength": LONGEST}, {"type": "number"}, {"type": "boolean"}]


def _value(value: object) -> object:
    if isinstance(value, str) and len(value) > LONGEST:
        raise ValueError(f"a value has at most {LONGEST} characters")
    if not isinstance(value, str | int | float | bool):
        raise ValueError("a value is text, a number, true or false")
    if isinstance(value, int | float) and not abs(value) <= sys.float_info.max:
        raise ValueError("the number is too large, or none")
    return value


Value = Annotated[Any, AfterValidator(_value), WithJsonSchema({"anyOf": _VALUE})]
Values = Annotated[list[Value], Field(min_length=1, max_length=MOST_VALUES)]
Bound = Annotated[float, Strict(), Field(allow_inf_nan=False)]


class Condition(BaseModel):
    """What one attribute must be: a plain value, or all of the operators given."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    any_: Values | None = Field(None, alias="any", description="It is, or has, one of these.")
    not_: Values | None = Field(None, alias="not", description="It is not, and has none of, these.")
    gt: Bound | None = Field(None, description="It is a number above this.")
    gte: Bound | None = None
    lt: Bound | None = None
    lte: Bound | None = None
    exists: StrictBool | None = Field(None, description="The item has the attribute, or lacks it.")

    @model_validator(mode="before")
    @classmethod
    def _of_value(cls, given: object) -> object:
        if not isinstance(given, dict):
            return {"any": [given]}
        if not given or None in given.values():
            raise ValueError("name an operator with a value: any, not, gt, gte, lt, lte or exists")
        if "not" in given and not isinstance(given["not"], list):
            return {**given, "not": [given["not"]]}
        return given

    @classmethod
    def __get_pydantic_json_schema__(
        cls, core_schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        """The schema of what is accepted: a value alone stands for `any` of it."""
        schema = handler.resolve_ref_schema(handler(core_schema))
        properties = schema["properties"]
        for name in properties:  # null is no operand
            operand = properties[name].get("anyOf", [properties[name]])[0]
            described = {k: v for k, v in properties[name].items() if k in ("title", "description")}
            properties[name] = operand | described
        properties["not"] = {"anyOf": [*_VALUE, properties["not"]]}
        schema["minProperties"] = 1
        shown = dict(schema)
        schema.clear()
        schema.update({"anyOf": [*_VALUE, shown]})
        return schema


Filter = Annotated[
    dict[Annotated[str, Field(max_length=LONGEST)], Condition],
    Field(max_length=MOST_CONDITIONS, examples=[{"colour": "red", "price": {"gte": 1, "lt": 5}}]),
]


def canonical(conditions: Mapping[str, Condition]) -> str:
    """The text of a filter, the same for the same conditions; "" for none."""
    if not conditions:
        return ""
    shown = {name: each.model_dump(by_alias=True, exclude_none=True) for name, each in conditions.items()}
    return json.dumps(shown, sort_keys=True, separators=(",", ":"))
