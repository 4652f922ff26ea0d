"""Long inputs in bounded pieces."""

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import TypeVar

T = TypeVar("T")
MOST_IDS = 500
"""Ids in one IN (...): below every database's limit of parameters."""


def chunked(values: Iterable[T], size: int) -> Iterator[list[T]]:
    """Yield lists of at most `size` values, in order, holding one at a time."""
    iterator = iter(values)
    while chunk := list(islice(iterator, size)):
        yield chunk
