"""What items must be to be answered: filters as masks by row, and limits on items of one value."""

import json
import threading
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from cachetools import LRUCache
from numpy.typing import NDArray

from app.core.errors import Invalid
from app.serving.columns import MOST_COLUMNS, NOTHING, Column, key_of, read_columns, text_of

MASK_BYTES = 4 * 1024**2  # of masks kept a release
Mask = NDArray[np.bool_]
AtMost = tuple[tuple[str, int], ...]
"""Attributes, and how many items of one value of it an answer may have."""


class Attributes:
    """The columns of a release on disk; safe to share between threads."""

    def __init__(self, folder: Path) -> None:
        self.size, self.columns, self.complete = read_columns(folder)
        self._masks: LRUCache[str, Mask] = LRUCache(MASK_BYTES, getsizeof=lambda mask: mask.nbytes)
        self._lock = threading.Lock()

    def column(self, name: str) -> Column:
        """The column of an attribute; an empty one if no item has it."""
        return self.columns.get(name, NOTHING)

    def check(self, names: Iterable[str]) -> None:
        """Raise `Invalid` for an attribute of which nothing is known although items may have it."""
        for name in names:
            if not self.complete and name not in self.columns:
                raise Invalid(
                    f"Nothing is known of the attribute {name[:80]!r}: the channel's items have more than "
                    f"{MOST_COLUMNS}, and only those that most items have can be asked for. Use fewer names.",
                    field=name[:80],
                )

    def mask(self, text: str) -> Mask:
        """Which items (N,) meet a filter, given by its canonical text; not to be written to."""
        with self._lock:
            found = self._masks.get(text)
        if found is None:
            found = self._evaluate(json.loads(text))
            found.flags.writeable = False
            if found.nbytes <= MASK_BYTES:
                with self._lock:
                    self._masks[text] = found
        return found

    def _evaluate(self, conditions: Mapping[str, Mapping[str, Any]]) -> Mask:
        mask = np.ones(self.size, np.bool_)
        for name, condition in conditions.items():
            mask &= _meeting(self.column(name), condition, self.size)
        return mask


def _meeting(column: Column, condition: Mapping[str, Any], size: int) -> Mask:
    """Of several values of an item, one must meet all of `any`, `gt`, ...; none may be of `not`."""
    values, mask = np.ones(len(column.keys), np.bool_), np.ones(size, np.bool_)
    for operator, operand in condition.items():
        match operator:
            case "any":
                values &= _among(column, operand)
            case "gt":
                values &= column.numbers > operand
            case "gte":
                values &= column.numbers >= operand
            case "lt":
                values &= column.numbers < operand
            case "lte":
                values &= column.numbers <= operand
            case "not":
                mask &= ~column.items(_among(column, operand), size)
            case "exists":
                mask &= column.items(np.ones(len(column.keys), np.bool_), size) == operand
    return mask & column.items(values, size) if condition.keys() & {"any", "gt", "gte", "lt", "lte"} else mask


def _among(column: Column, wanted: Sequence[str | float | bool]) -> Mask:
    """Values (V,) that are wanted: numbers by number, all else by text."""
    numbers = [float(value) for value in wanted if _is_number(value)]
    keys = [key_of(text_of(value)) for value in wanted if not _is_number(value)]
    return np.isin(column.numbers, numbers) | np.isin(column.keys, keys)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


class Limits:
    """Lets so many items of one value through; items that lack the attribute are not limited.

    Of an item with several values each counts.
    """

    def __init__(self, attributes: Attributes, at_most: AtMost) -> None:
        self._columns = [(attributes.column(name), most, Counter[int]()) for name, most in at_most]

    def take(self, row: int) -> bool:
        """Whether there is room for an item, which is then taken."""
        codes = [(counts, most, column.of_row(row)) for column, most, counts in self._columns]
        if any(counts[code] >= most for counts, most, found in codes for code in found):
            return False
        for counts, _, found in codes:
            counts.update(found)
        return True

    def leave_out(self, allowed: Mask) -> None:
        """Take the items of values without room out of `allowed` (N,)."""
        for column, most, counts in self._columns:
            full = [code for code, count in counts.items() if count >= most]
            values = np.zeros(len(column.keys), np.bool_)
            values[full] = True
            allowed &= ~column.items(values, len(allowed))
