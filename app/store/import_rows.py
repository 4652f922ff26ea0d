"""Items and interactions out of a file's lines: plain CSV many lines at once, all else one by one."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from operator import ne
from typing import Any, TypeVar

from app.store.catalog import ItemRow
from app.store.formats import Block, Line, Row
from app.store.rows import (
    MAX_ATTRIBUTES_CHARS,
    MAX_ID_CHARS,
    MAX_TEXT_CHARS,
    MAX_TIMESTAMP,
    MILLISECONDS_FROM,
    BadRow,
    parse_interaction,
    parse_item,
)

T = TypeVar("T")
Met = tuple[str, str, int]
"""A user, an item and a timestamp, as in an `InteractionRow`."""
Parts = Iterable[Block | Line]
_ESCAPED = 12  # most characters of JSON that one character takes: an emoji's two surrogates


def items(parts: Parts) -> Iterator[tuple[int, ItemRow | str]]:
    """Yield (line, item), or (line, why it is bad)."""
    return _read(parts, _plain_items, parse_item)


def interactions(parts: Parts) -> Iterator[tuple[int, Met | str]]:
    """Yield (line, interaction), or (line, why it is bad)."""
    return _read(parts, _plain_interactions, parse_interaction)


def _read(
    parts: Parts, plain: Callable[[Block], Iterable[T] | None], parse: Callable[[Mapping[str, Any]], T]
) -> Iterator[tuple[int, T | str]]:
    for part in parts:
        if not isinstance(part, Block):
            yield _parsed(parse, *part)
        elif (rows := plain(part)) is not None:
            yield from enumerate(rows, part.number)
        else:
            yield from (_parsed(parse, *line) for line in part.lines())


def _parsed(parse: Callable[[Mapping[str, Any]], T], number: int, row: Row | str) -> tuple[int, T | str]:
    try:
        return number, row if isinstance(row, str) else parse(row)
    except BadRow as error:
        return number, str(error)


def _plain_items(block: Block) -> Iterable[ItemRow] | None:
    """What `parse_item` makes of the lines; None if it would refuse one, or might."""
    text = "text" if "text" in block.names else "title"
    ids, texts = block.column("item_id"), block.column(text)
    names = [(name, place) for name, place in block.names.items() if name not in ("item_id", text)]
    if not _are_ids(ids) or not all(map(str.strip, texts)) or max(map(len, texts)) > MAX_TEXT_CHARS:
        return None
    longest = max(sum(map(len, fields)) for fields in block.fields)
    if _ESCAPED * (longest + sum(len(name) + 1 for name, _ in names)) > MAX_ATTRIBUTES_CHARS:
        return None
    known = ({name: fields[place] for name, place in names if fields[place]} for fields in block.fields)
    return map(ItemRow, ids, texts, known)


def _plain_interactions(block: Block) -> Iterable[Met] | None:
    """What `parse_interaction` makes of the lines; None if it would refuse one, or might.

    Timestamps are plain that are whole numbers, all in seconds or all in milliseconds.
    """
    users, items, times = (block.column(name) for name in ("user_id", "item_id", "timestamp"))
    moments = _milliseconds(times)
    if moments is None or not _are_ids(users) or not _are_ids(items):
        return None
    return zip(users, items, moments, strict=True)


def _are_ids(values: list[str]) -> bool:
    # A block's lines are UTF-8 without NUL.
    lengths = set(map(len, values))
    if min(lengths) == 0 or max(lengths) > MAX_ID_CHARS:
        return False
    return not any(map(ne, map(str.strip, values), values))


def _milliseconds(texts: list[str]) -> list[int] | None:
    if "_" in "".join(texts):  # Python's numbers may hold one
        return None
    try:
        values = list(map(int, texts))
    except ValueError:
        return None
    first, last = min(values), max(values)
    if first > MILLISECONDS_FROM and last < MAX_TIMESTAMP:
        return values
    in_seconds = first >= 0 and last <= MILLISECONDS_FROM and last * 1000 < MAX_TIMESTAMP
    return [value * 1000 for value in values] if in_seconds else None
