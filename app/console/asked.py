"""What a visitor asks in the playground: all of it stands in the page's address, so a link shares it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from math import isfinite
from typing import Any
from urllib.parse import urlencode

from starlette.datastructures import QueryParams

MOST_ITEMS = 30  # of a history that is built: an address has an end
MOST_PAGES, MOST_ROWS, MOST_COUNT = 10, 10, 50
OPERATORS = {
    "is": "is",
    "not": "is not",
    "gte": "≥",
    "gt": ">",
    "lte": "≤",
    "lt": "<",
    "exists": "exists",
    "lacks": "is missing",
}
Row = tuple[str, str, str]  # attribute, operator, value


@dataclass(frozen=True)
class Asked:
    """A user, or else a history; options; how many pages are shown, and similar items of which item."""

    user: str = ""
    items: tuple[str, ...] = ()
    count: int = 10
    seen: bool = False  # whether what was seen may be recommended
    filters: tuple[Row, ...] = ()
    limits: tuple[tuple[str, int], ...] = ()
    version: int | None = None  # asked beside champion and challenger
    pages: int = 1
    similar: str = ""

    @classmethod
    def of(cls, query: QueryParams) -> "Asked":
        """Read an address; what makes no sense is left out."""
        user = query.get("user", "").strip()[:128]
        rows = zip(*(query.getlist(name) for name in ("attribute", "is", "value")), strict=False)
        limits = zip(query.getlist("limit_of"), query.getlist("limit"), strict=False)
        return cls(
            user=user,
            items=() if user else tuple(query.getlist("item")[:MOST_ITEMS]),
            count=_number(query.get("count"), 10, MOST_COUNT),
            seen=query.get("seen") == "1",
            filters=tuple((a.strip(), o, v.strip()) for a, o, v in rows if a.strip() and o in OPERATORS)[
                :MOST_ROWS
            ],
            limits=tuple((a.strip(), _number(n, 1, 500)) for a, n in limits if a.strip())[:2],
            version=_number(query.get("v"), 0, 2**31 - 1, 0) if query.get("v") else None,
            pages=_number(query.get("pages"), 1, MOST_PAGES),
            similar=query.get("similar", "")[:128],
        )

    @property
    def query(self) -> str:
        """The address that says this, without the path; "" for the defaults."""
        pairs: list[tuple[str, Any]] = [("user", self.user)] if self.user else []
        pairs += [("item", item) for item in self.items]
        for attribute, operator, value in self.filters:
            pairs += [("attribute", attribute), ("is", operator), ("value", value)]
        for attribute, most in self.limits:
            pairs += [("limit_of", attribute), ("limit", most)]
        for name in ("count", "pages", "similar", "version"):
            if (value := getattr(self, name)) != getattr(_DEFAULTS, name):
                pairs.append(("v" if name == "version" else name, value))
        if self.seen:
            pairs.append(("seen", "1"))
        return f"?{urlencode(pairs, errors='replace')}" if pairs else ""

    @property
    def body(self) -> dict[str, Any]:
        """The same as a request for recommendations."""
        whom: dict[str, Any] = {"user_id": self.user} if self.user else {"history": self.items}
        return {
            **whom,
            "count": self.count,
            "exclude_seen": not self.seen,
            "filter": _filter(self.filters),
            "at_most": dict(self.limits),
        }

    def done(self, act: str) -> "Asked":
        """After an act, such as `add:ITEM`, `up:2` or `more`; an unknown one changes nothing."""
        name, _, value = act.partition(":")
        change = _ACTS.get(name)
        return change(self, value) if change else self


def _moved(asked: Asked, value: str, by: int) -> Asked:
    items, at = list(asked.items), _number(value, -1, MOST_ITEMS, 0)
    if 0 <= at < len(items) and 0 <= at + by < len(items):
        items[at], items[at + by] = items[at + by], items[at]
    return _again(asked, items=tuple(items))


def _without(rows: tuple[Any, ...], value: str) -> tuple[Any, ...]:
    at = _number(value, -1, MOST_ITEMS, 0)
    return tuple(row for n, row in enumerate(rows) if n != at)


def _again(asked: Asked, **changes: Any) -> Asked:
    """Another question begins at its first page."""
    return replace(asked, pages=1, similar="", **changes)


def _added(asked: Asked, value: str) -> Asked:
    return _again(asked, user="", items=(*asked.items, value[:128])[-MOST_ITEMS:])


_ACTS: dict[str, Callable[[Asked, str], Asked]] = {
    "user": lambda asked, value: _again(asked, user=value[:128], items=()),
    "add": _added,
    "remove": lambda asked, value: _again(asked, items=_without(asked.items, value)),
    "up": lambda asked, value: _moved(asked, value, -1),
    "down": lambda asked, value: _moved(asked, value, 1),
    "clear": lambda asked, _: _again(asked, user="", items=()),
    "unfilter": lambda asked, value: _again(asked, filters=_without(asked.filters, value)),
    "unlimit": lambda asked, value: _again(asked, limits=_without(asked.limits, value)),
    "more": lambda asked, _: replace(asked, pages=min(asked.pages + 1, MOST_PAGES)),
    "similar": lambda asked, value: replace(asked, similar=value[:128]),
}


def _filter(rows: Sequence[Row]) -> dict[str, Any]:
    """Rows as the API's filter; an unfinished row does not count. Two values of `is` are any of them."""
    conditions: dict[str, dict[str, Any]] = {}
    for attribute, operator, value in rows:
        if operator in ("exists", "lacks"):
            conditions.setdefault(attribute, {})["exists"] = operator == "exists"
        elif value and operator in ("is", "not"):
            name = "any" if operator == "is" else "not"
            conditions.setdefault(attribute, {}).setdefault(name, []).append(_value(value))
        elif value:
            conditions.setdefault(attribute, {})[operator] = _value(value)
    return conditions


def _value(text: str) -> str | float:
    """A number equals its text as well, so what looks like one is one."""
    try:
        number = float(text)
    except ValueError:
        return text
    return number if isfinite(number) else text


def _number(text: str | None, default: int, most: int, least: int = 1) -> int:
    try:
        return min(max(int(text or ""), least), most)
    except ValueError:
        return default


_DEFAULTS = Asked()
