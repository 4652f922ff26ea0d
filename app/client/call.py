"""A request, described as data: what `Client` and `AsyncClient` have in common."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Generic, TypeVar, cast
from urllib.parse import quote

from pydantic import BaseModel, TypeAdapter

from app.client.upload import Upload

T = TypeVar("T")
CHANNELS, ADMIN = "/v1/channels", "/v1/admin"


@dataclass(frozen=True)
class Call(Generic[T]):
    """A request whose answer's body `read` makes a `T` of."""

    method: str
    path: str
    read: Callable[[bytes], T]
    body: BaseModel | Upload | None = None
    query: Mapping[str, object] = field(default_factory=dict)  # what is None is left out
    of_tenant: bool = True  # the client's tenant goes with it
    retried: bool = True
    same_twice: bool = False  # a POST that changes nothing when it is sent again
    seconds: float | None = None  # longest wait for the answer, where the client's own is too short

    @property
    def idempotent(self) -> bool:
        """Whether it may be sent again when nobody knows if it arrived."""
        return self.method != "POST" or self.same_twice


def one(model: type[T]) -> Callable[[bytes], T]:
    """Reads an answer that is a `model`."""
    return _adapter(cast(Any, model)).validate_json


def many(model: type[T]) -> Callable[[bytes], list[T]]:
    """Reads an answer that is a list of them."""
    return _adapter(list[model]).validate_json  # type: ignore[valid-type]


def nothing(_body: bytes) -> None:
    """Reads an answer without a body."""


@cache
def _adapter(kind: Any) -> TypeAdapter[Any]:
    return TypeAdapter(kind)


def at(prefix: str, *parts: object) -> str:
    """A path of which each part is one segment, whatever is in it."""
    return "/".join([prefix, *(_segment(str(part)) for part in parts)])


def _segment(part: str) -> str:
    # "." and ".." would be taken for steps between folders.
    return quote(part, safe="") if part.strip(".") else part.replace(".", "%2E")
