"""What all requests and answers have in common. An unknown field in a request is an error, never ignored."""

import math
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from app.core.names import NAME_PATTERN


def _storable(text: str) -> str:
    if "\0" in text:
        raise ValueError("a NUL character cannot be stored: leave it out")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError("half a surrogate pair cannot be stored: leave it out") from None
    return text


def _no_nan(attributes: dict[str, Any]) -> dict[str, Any]:
    # Python's JSON has it, and for tables it is a missing value. Further inside it is refused anyway.
    if any(isinstance(value, float) and math.isnan(value) for value in attributes.values()):
        raise ValueError("NaN is not a JSON number")
    return attributes


Name = Annotated[str, Field(pattern=NAME_PATTERN, examples=["books"])]
Text = Annotated[str, AfterValidator(_storable), Field(max_length=1000)]
ItemId = Annotated[str, AfterValidator(_storable), Field(min_length=1, max_length=128, examples=["item-1"])]
UserId = Annotated[str, AfterValidator(_storable), Field(min_length=1, max_length=128, examples=["user-1"])]
Attributes = Annotated[dict[str, Any], AfterValidator(_no_nan), Field(examples=[{"price": 1.5}])]


class Body(BaseModel):
    """A request."""

    model_config = ConfigDict(extra="forbid")


class Answer(BaseModel):
    """An answer, filled from a row of the database or from a plain object."""

    model_config = ConfigDict(from_attributes=True)


class Problem(BaseModel):
    """An error (RFC 9457); some carry more fields, such as `errors` or `report`."""

    model_config = ConfigDict(extra="allow")
    type: str = "about:blank"
    title: str
    status: int
    detail: str = Field(description="What happened, and what to do about it.")


PROBLEMS: dict[int | str, dict[str, Any]] = {
    "4XX": {"model": Problem, "description": "What is wrong with the request, and the remedy."},
    "5XX": {"model": Problem, "description": "What is wrong here; 503 says when to try again."},
}
