"""The attributes of a release's items by column, so that a filter reads only what it names.

    attributes.safetensors    of every column end to end: rows and codes of its entries, keys and numbers of
                              its distinct values

An item's attribute is text, a number, true or false, or a list of them: each such value is an entry, whose
code names one of the column's distinct values. Values are told apart by their text, which for what is no text
is its JSON. Of a value that is a number, or reads as one (all values of a CSV are text), the number is known
too. Objects, and lists in lists, are passed over; so is the item's text, which is no attribute.
"""

import hashlib
import json
import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from app.serving.arrays import map_arrays, write_arrays

ATTRIBUTES = "attributes.safetensors"
MOST_COLUMNS = 200  # attributes that most items have; of others nothing is known
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)


@dataclass(frozen=True, slots=True, eq=False)
class Column:
    """One attribute: M entries of V distinct values, in order of their rows."""

    rows: NDArray[np.int32]  # (M,)
    codes: NDArray[np.int32]  # (M,) which value
    keys: NDArray[np.int64]  # (V,) of the values' texts
    numbers: NDArray[np.float64]  # (V,) NaN where the text is no number

    def items(self, values: NDArray[np.bool_], size: int) -> NDArray[np.bool_]:
        """Which of `size` items have one of the values that `values` (V,) marks."""
        found = np.zeros(size, np.bool_)
        found[self.rows[values[self.codes]]] = True
        return found

    def of_row(self, row: int) -> list[int]:
        """The codes of one item's values."""
        start, end = np.searchsorted(self.rows, (row, row + 1))
        codes: list[int] = self.codes[start:end].tolist()
        return codes


NOTHING = Column(np.empty(0, np.int32), np.empty(0, np.int32), np.empty(0, np.int64), np.empty(0, np.float64))
"""The column of an attribute that no item has."""


def text_of(value: str | float | bool) -> str:
    """What a value is told from others by."""
    return value if isinstance(value, str) else json.dumps(value)


def key_of(text: str) -> int:
    """64 bits that stand for a text: columns of long texts stay small."""
    return int.from_bytes(
        hashlib.blake2b(text.encode(errors="surrogatepass"), digest_size=8).digest(), "little", signed=True
    )


def number_of(text: str) -> float:
    """The number that a text is, else NaN."""
    text = text.strip()
    number = float(text) if _NUMBER.fullmatch(text) else np.nan
    return number if np.isfinite(number) else np.nan


def columns_of(items: Sequence[Mapping[str, Any]], first_row: int = 0) -> dict[str, Column]:
    """The columns of items, given by their attributes, in rows from `first_row` on."""
    rows: defaultdict[str, list[int]] = defaultdict(list)
    codes: defaultdict[str, list[int]] = defaultdict(list)
    values: defaultdict[str, dict[str, int]] = defaultdict(dict)
    for row, attributes in enumerate(items, first_row):
        for name, text in _texts(attributes):
            known = values[name]
            rows[name].append(row)
            codes[name].append(known.setdefault(text, len(known)))
    return {
        name: Column(
            np.array(rows[name], np.int32),
            np.array(codes[name], np.int32),
            np.fromiter(map(key_of, known), np.int64, len(known)),
            np.fromiter(map(number_of, known), np.float64, len(known)),
        )
        for name, known in values.items()
    }


def _texts(attributes: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for name, value in attributes.items():
        if name == "text":
            continue
        if isinstance(value, list):
            yield from ((name, text) for text in dict.fromkeys(_plain(value)))
        elif not isinstance(value, dict) and value is not None:
            yield name, text_of(value)


def _plain(values: list[Any]) -> Iterator[str]:
    return (text_of(v) for v in values if v is not None and not isinstance(v, dict | list))


def joined(
    before: Mapping[str, Column], kept: NDArray[np.int64], size: int, added: Mapping[str, Column]
) -> dict[str, Column]:
    """Columns of the rows `kept` (rising) of `size`, then of the added ones, whose rows come behind."""
    row_now = np.full(size, -1, np.int32)
    row_now[kept] = np.arange(len(kept), dtype=np.int32)
    columns = {name: _kept(column, row_now) for name, column in before.items()}
    for name, column in added.items():
        columns[name] = _appended(columns[name], column) if name in columns else column
    return {name: column for name, column in columns.items() if len(column.rows)}


def _kept(column: Column, row_now: NDArray[np.int32]) -> Column:
    rows = row_now[column.rows]
    stay = rows >= 0
    if stay.all():
        return Column(rows, column.codes, column.keys, column.numbers)
    codes, used = column.codes[stay], np.zeros(len(column.keys), np.bool_)
    used[codes] = True
    if used.all():
        return Column(rows[stay], codes, column.keys, column.numbers)
    code_now = np.cumsum(used, dtype=np.int32) - 1  # values that nobody has any more are forgotten
    return Column(rows[stay], code_now[codes], column.keys[used], column.numbers[used])


def _appended(column: Column, added: Column) -> Column:
    known = np.flatnonzero(np.isin(column.keys, added.keys)).tolist()
    code_of = dict(zip(column.keys[known].tolist(), known, strict=True))
    new = [code for code, key in enumerate(added.keys.tolist()) if key not in code_of]
    code_of |= {key: code for code, key in enumerate(added.keys[new].tolist(), len(column.keys))}
    codes = np.array([code_of[key] for key in added.keys.tolist()], np.int32)[added.codes]
    return Column(
        np.concatenate([column.rows, added.rows]),
        np.concatenate([column.codes, codes]),
        np.concatenate([column.keys, added.keys[new]]),
        np.concatenate([column.numbers, added.numbers[new]]),
    )


def write_columns(folder: Path, size: int, columns: Mapping[str, Column], complete: bool) -> None:
    """Write the columns of `size` items, at most `MOST_COLUMNS`; `complete` if none were left out before."""
    entries = Counter({name: len(column.rows) for name, column in columns.items()})
    names = [name for name, _ in entries.most_common(MOST_COLUMNS)]
    chosen = [NOTHING, *(columns[name] for name in names)]
    head = {"size": size, "names": names, "complete": complete and len(names) == len(columns)}
    arrays: dict[str, NDArray[Any]] = {
        "head": np.frombuffer(json.dumps(head).encode(), np.uint8),
        "entries": np.cumsum([len(column.rows) for column in chosen]),
        "values": np.cumsum([len(column.keys) for column in chosen]),
        "rows": np.concatenate([column.rows for column in chosen]),
        "codes": np.concatenate([column.codes for column in chosen]),
        "keys": np.concatenate([column.keys for column in chosen]),
        "numbers": np.concatenate([column.numbers for column in chosen]),
    }
    write_arrays(folder / ATTRIBUTES, arrays)


def read_columns(folder: Path) -> tuple[int, dict[str, Column], bool]:
    """What `write_columns` wrote, mapped into memory; raises `Invalid` for a damaged file."""
    found: dict[str, NDArray[Any]] = map_arrays(folder / ATTRIBUTES)
    head = json.loads(found["head"].tobytes())
    entries, values = found["entries"].tolist(), found["values"].tolist()
    columns = {}
    for n, name in enumerate(head["names"]):
        of_entries, of_values = slice(entries[n], entries[n + 1]), slice(values[n], values[n + 1])
        columns[name] = Column(
            found["rows"][of_entries],
            found["codes"][of_entries],
            found["keys"][of_values],
            found["numbers"][of_values],
        )
    return head["size"], columns, head["complete"]
