"""Rows out of a CSV, JSONL or Parquet file, one at a time; a bad one never stops the rest."""

import csv
import json
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import Any

from app.core.errors import Invalid
from app.store.lines import BadLine, Lines
from app.store.parquet import read_parquet

Row = dict[str, Any]
Line = tuple[int, Row | str]
"""The number of a line and its row, or the reason why it is bad."""
MAX_BYTES = 16 * 1024**3
_MAX_ROW_CHARS = 1024**2  # a CSV row may span lines, but not the whole file
_MAX_RATIO = 100  # unpacked to packed: honest files stay far below, made-up ones reach 1000
_FREE_BYTES = 16 * 1024**2  # a file may unpack to this whatever the ratio


class Format(StrEnum):
    """The file formats of imports: of rows, and at the end the archives of images."""

    CSV = "csv"
    JSONL = "jsonl"
    PARQUET = "parquet"
    ZIP = "zip"
    TAR = "tar"


@dataclass(frozen=True, slots=True)
class Columns:
    """What a file must have: one of each group in `required`. Without `extra` all else is left out."""

    required: tuple[tuple[str, ...], ...]
    extra: bool

    def check(self, names: list[str]) -> None:
        """Raise `Invalid` when a column is missing or there twice."""
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise Invalid(f"The file has more than one column {twice[0]!r}. Rename one of them.")
        for group in self.required:
            if not set(group) & set(names):
                raise Invalid(f"The file has no column {' or '.join(group)!r}; it has: {_some(names)}.")

    def wanted(self, names: list[str]) -> list[str]:
        """Return those of the columns that are to be read."""
        known = {name for group in self.required for name in group}
        return [name for name in names if self.extra or name in known]


def _some(names: list[str]) -> str:
    return ", ".join(name[:80] for name in names[:20]) or "none"


def unpack_limit(path: Path, max_bytes: int) -> int:
    """Return how many bytes a packed file may unpack to: `max_bytes`, or less if it is small itself."""
    return min(max_bytes, max(_FREE_BYTES, path.stat().st_size * _MAX_RATIO))


@dataclass(frozen=True, slots=True)
class Block:
    """Lines of a CSV file that follow each other from `number` on; `names` says where which field is."""

    number: int
    names: dict[str, int]
    fields: list[list[str]]

    def lines(self) -> Iterator[Line]:
        """Yield them one by one."""
        for number, fields in enumerate(self.fields, self.number):
            yield number, {name: fields[place] for name, place in self.names.items()}

    def column(self, name: str) -> list[str]:
        """Return one of the fields, of all lines."""
        place = self.names[name]
        return [fields[place] for fields in self.fields]


def read_blocks(
    path: Path,
    format: Format,  # noqa: A002 - the word for it
    columns: Columns,
    *,
    gzipped: bool = False,
    max_line_bytes: int = 1024**2,
    max_bytes: int = MAX_BYTES,
) -> Iterator[Block | Line]:
    """Yield (line number, row), or (line number, reason) for a line that cannot be read.

    Lines count from 1, the header of a CSV file included; in Parquet it is the row's number. Lines of a CSV
    file that each are a row come as blocks. Raises `Invalid` when the file as a whole is wrong, `TooLarge`
    when it unpacks to over `max_bytes`, or to over 100 times its size and 16 MiB.
    """
    if gzipped or format is Format.PARQUET:
        max_bytes = unpack_limit(path, max_bytes)
    if format is Format.PARQUET:
        if gzipped:
            raise Invalid("Parquet is compressed inside. Send the file without gzip.")
        yield from read_parquet(path, columns.check, columns.wanted, max_line_bytes, max_bytes)
        return
    with Lines(path, gzipped, max_line_bytes, max_bytes) as lines:
        yield from _read_csv(lines, columns) if format is Format.CSV else _read_jsonl(lines)


def _read_jsonl(lines: Lines) -> Iterator[Line]:
    empty = True
    for number, line in lines:
        if isinstance(line, BadLine):
            yield number, line.reason
        elif line.strip():
            yield number, _parse_json(line)
        else:
            continue
        empty = False
    if empty:
        raise Invalid("The file is empty. Send at least one line.")


def _parse_json(line: str) -> Row | str:
    try:
        row = json.loads(line, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        return f"the line is not JSON: {error}"[:200]
    return row if isinstance(row, dict) else "the line is not a JSON object"


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is not a JSON number")


class _CsvLines:
    """The lines for the csv module, which may take several for one row; bad ones empty, set aside."""

    def __init__(self, lines: Lines) -> None:
        self._lines = lines
        self._row_chars = 0
        self.bad: list[BadLine] = []

    def __iter__(self) -> "_CsvLines":
        return self

    def __next__(self) -> str:
        if self._row_chars > _MAX_ROW_CHARS:
            raise csv.Error("field limit of the row")
        _, line = next(self._lines)
        if isinstance(line, BadLine):
            self.bad.append(line)
            self._row_chars += len(line.reason)
            return ""  # the reader goes on, and the bad lines do not pile up
        self._row_chars += len(line)
        return line

    def begin_row(self) -> int:
        """Return the number of the next line."""
        self._row_chars = 0
        return self._lines.number + 1

    def take_bad(self) -> Iterator[tuple[int, str]]:
        bad, self.bad = self.bad, []
        yield from ((line.number, line.reason) for line in bad)


def _read_csv(lines: Lines, columns: Columns) -> Iterator[Block | Line]:
    source = _CsvLines(lines)
    reader = csv.reader(source, strict=True)
    header = _csv_header(reader, source)
    columns.check(header)
    names = {name: header.index(name) for name in columns.wanted(header)}
    while True:
        start = source.begin_row()
        if block := lines.take(partial(_csv_fields, count=len(header))):
            yield Block(start, names, block)
            continue
        try:
            fields = next(reader)
        except StopIteration:
            break
        except csv.Error as error:
            yield from source.take_bad()
            yield start, _csv_reason(error)
            continue
        yield from source.take_bad()
        if len(fields) == len(header):
            yield start, {name: fields[place] for name, place in names.items()}
        elif fields:
            yield start, f"the line has {len(fields)} fields, the header has {len(header)}"
    yield from source.take_bad()


def _csv_fields(lines: list[str], count: int) -> list[list[str]] | None:
    """The fields of lines that each are a row by themselves; None if any is not, or has not so many."""
    try:
        rows = list(csv.reader(lines, strict=True))
    except csv.Error:
        return None
    return rows if len(rows) == len(lines) and set(map(len, rows)) == {count} else None


def _csv_header(reader: Iterator[list[str]], source: _CsvLines) -> list[str]:
    try:
        header = next(reader)
    except StopIteration:
        header = []
    except csv.Error as error:
        raise Invalid(f"The header cannot be read: {_csv_reason(error)}.") from error
    if source.bad:
        raise Invalid(f"The header cannot be read: {source.bad[0].reason}.")
    if not header:
        raise Invalid("The file is empty. Send a header line and at least one row.")
    return [name.strip() for name in header]


def _csv_reason(error: csv.Error) -> str:
    if "field limit" in str(error) or "end of data" in str(error):
        return "a quote is never closed, or a field is too long"
    return f"the line is not CSV: {error}"
