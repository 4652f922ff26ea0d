"""The rules for one row of an import: a row of a file in, a row of the store or a reason out."""

import json
import math
from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

from app.store.catalog import ItemRow
from app.store.events import InteractionRow

MAX_ID_CHARS = 128
MAX_TEXT_CHARS = 10_000
MAX_ATTRIBUTES_CHARS = 100_000
MAX_DEPTH = 32  # of lists and objects in the attributes; the JSON of answers has a limit too

MILLISECONDS_FROM = 100_000_000_000  # as seconds it would be the year 5138: so it is milliseconds
MAX_TIMESTAMP = 4_102_444_800_000  # 2100-01-01
_MILLISECOND = timedelta(milliseconds=1)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class BadRow(ValueError):  # noqa: N818 - as in app.core.errors
    """The row breaks a rule; the message says which."""


def parse_item(row: Mapping[str, Any]) -> ItemRow:
    """Make an item of a row: `item_id`, `text` (or `title`), all else attributes; raises `BadRow`."""
    rest = {key: value for key, value in row.items() if key != "item_id"}
    text = rest.pop("text" if "text" in rest else "title", None)
    return make_item(row.get("item_id"), text, rest)


def make_item(item_id: object, text: object, attributes: dict[str, Any]) -> ItemRow:
    """Make an item of its parts, without the attributes that are missing; raises `BadRow`."""
    checked_id = parse_id(item_id, "item_id")
    if not isinstance(text, str) or not text.strip():
        raise BadRow("the text is empty")
    if len(text) > MAX_TEXT_CHARS:
        raise BadRow(f"the text is longer than {MAX_TEXT_CHARS} characters")
    return ItemRow(checked_id, _storable(text, "text"), _attributes(attributes))


def parse_interaction(row: Mapping[str, Any]) -> InteractionRow:
    """Make an interaction of a row: `user_id`, `item_id`, `timestamp`; raises `BadRow`."""
    user_id, item_id = (parse_id(row.get(name), name) for name in ("user_id", "item_id"))
    return InteractionRow(user_id, item_id, parse_timestamp(row.get("timestamp")))


def parse_timestamp(value: object) -> int:
    """Return milliseconds since 1970 UTC; raises `BadRow`.

    `value` is a number (seconds; above 1e11 milliseconds), the same as text, ISO 8601 text or a
    datetime. A time without a zone is UTC. It must lie from 1970 to 2100.
    """
    milliseconds = _milliseconds(_timestamp_text(value.strip()) if isinstance(value, str) else value)
    if not 0 <= milliseconds < MAX_TIMESTAMP:
        raise BadRow("the timestamp is out of range: it must lie from 1970 to 2100")
    return milliseconds


def _milliseconds(value: object) -> int:
    if isinstance(value, date):
        return _date_to_milliseconds(value)
    if isinstance(value, int | float | Decimal) and not isinstance(value, bool):
        return _number_to_milliseconds(value)
    raise BadRow("the timestamp is missing")


def _date_to_milliseconds(value: date) -> int:
    moment = value if isinstance(value, datetime) else datetime(value.year, value.month, value.day)
    # Not .timestamp(): its float is off by a millisecond now and then.
    return ((moment if moment.tzinfo else moment.replace(tzinfo=UTC)) - _EPOCH) // _MILLISECOND


def _number_to_milliseconds(value: int | float | Decimal) -> int:
    # A whole number is finite, and may be too big to be asked.
    if not isinstance(value, int) and not math.isfinite(value):
        raise BadRow("the timestamp is not a finite number")
    in_seconds = -MILLISECONDS_FROM <= value <= MILLISECONDS_FROM
    return round(value * 1000) if in_seconds else int(value)


def _timestamp_text(text: str) -> int | float | datetime:
    if "_" in text:  # Python's numbers may hold one
        raise BadRow(f"the timestamp {text[:40]!r} is neither a number nor ISO 8601")
    try:
        return int(text)
    except ValueError:
        pass
    try:
        return float(text)
    except ValueError:
        pass
    try:
        return datetime.fromisoformat(text)
    except ValueError as error:
        raise BadRow(f"the timestamp {text[:40]!r} is neither a number nor ISO 8601") from error


def parse_id(value: object, name: str) -> str:
    """Return an id as text; raises `BadRow`, which calls it by `name`."""
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    if value is None or value == "":
        raise BadRow(f"the {name} is empty")
    if not isinstance(value, str):
        raise BadRow(f"the {name} is neither text nor a whole number")
    if value != value.strip():
        # A user's id is not repeated: reports are kept.
        shown = "" if name == "user_id" else f" {value[:40]!r}"
        raise BadRow(f"the {name}{shown} begins or ends with white space")
    if len(value) > MAX_ID_CHARS:
        raise BadRow(f"the {name} is longer than {MAX_ID_CHARS} characters")
    return _storable(value, name)


def _storable(text: str, name: str) -> str:
    # PostgreSQL stores no NUL, and a lone surrogate (from a JSON escape) has no UTF-8.
    if "\0" in text:
        raise BadRow(f"the {name} holds a NUL character")
    if not _is_utf8(text):
        raise BadRow(f"the {name} holds half a surrogate pair")
    return text


def _is_utf8(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _attributes(values: dict[str, Any]) -> dict[str, Any]:
    """Return plain JSON of what else is known of an item, without what is missing."""
    known = {key: value for key, value in values.items() if not _is_missing(value)}
    if any(_is_deeper(value, MAX_DEPTH) for value in known.values()):
        raise BadRow(f"the attributes are nested deeper than {MAX_DEPTH} levels")
    try:
        text = _to_json(known)
    except (TypeError, ValueError, RecursionError) as error:
        raise BadRow(f"the attributes cannot be stored as JSON: {error}"[:200]) from error
    if len(text) > MAX_ATTRIBUTES_CHARS:
        raise BadRow(f"the attributes are longer than {MAX_ATTRIBUTES_CHARS} characters of JSON")
    if "\\u0000" in text.replace(
        "\\\\", ""
    ):  # the characters themselves are fine, behind an escaped backslash
        raise BadRow("the attributes hold a NUL character")
    if all(type(value) is str for value in known.values()) and "\\ud" not in text:
        return known  # nothing to make plain, and no half of a surrogate pair
    attributes: dict[str, Any] = json.loads(text)
    if not _is_utf8(json.dumps(attributes, ensure_ascii=False)):
        raise BadRow("the attributes hold half a surrogate pair")
    return attributes


def _is_deeper(value: object, levels: int) -> bool:
    if not isinstance(value, dict | list | tuple):
        return False
    inner = value.values() if isinstance(value, dict) else value
    return levels == 0 or any(_is_deeper(each, levels - 1) for each in inner)


def _is_missing(value: object) -> bool:
    # A missing value is "" in CSV, and NaN in the Parquet files that pandas writes.
    return value is None or value == "" or (isinstance(value, float) and math.isnan(value))


def _plain(value: object) -> object:
    if isinstance(value, date):  # a datetime is one too
        return value.isoformat()
    if isinstance(value, Decimal):
        return float(value)
    raise TypeError(f"a {type(value).__name__} is no JSON value")


_to_json = json.JSONEncoder(default=_plain, allow_nan=False).encode
