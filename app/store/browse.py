"""The catalogue as people look through it: page by page by id, and by what stands in an id or a text."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, or_, select
from sqlalchemy.orm import InstrumentedAttribute, Session

from app.store.catalog import get_items
from app.store.images import image_refs
from app.store.tables import Item


@dataclass(frozen=True, slots=True)
class Shown:
    """An item as a list shows it."""

    item_id: str
    text: str
    attributes: dict[str, Any]
    has_image: bool


def find_items(s: Session, channel_id: str, search: str, after: str, limit: int) -> list[Shown]:
    """Return at most `limit` items by id, those behind the id `after` whose id or text holds `search`.

    Case does not count (SQLite: that of ASCII letters); % and _ stand for themselves.
    """
    query = select(Item.item_id, Item.text, Item.attributes).where(Item.channel_id == channel_id)
    if after:
        query = query.where(Item.item_id > after)
    if search:
        query = query.where(or_(_holds(s, Item.item_id, search), _holds(s, Item.text, search)))
    rows = s.execute(query.order_by(Item.item_id).limit(limit)).all()
    with_image = image_refs(s, channel_id, [row.item_id for row in rows])
    return [Shown(row.item_id, row.text, row.attributes, row.item_id in with_image) for row in rows]


def some_items(s: Session, channel_id: str, ids: Sequence[str]) -> list[Shown]:
    """Return the items of these ids that there are, each once, in the order of `ids`."""
    found, with_image = get_items(s, channel_id, ids), image_refs(s, channel_id, list(ids))
    items = [found[item_id] for item_id in dict.fromkeys(ids) if item_id in found]
    return [Shown(item.item_id, item.text, item.attributes, item.item_id in with_image) for item in items]


def _holds(s: Session, column: InstrumentedAttribute[str], search: str) -> ColumnElement[bool]:
    # SQLite's LIKE passes over case anyway; lower() of both sides would take twice as long.
    if s.get_bind().dialect.name == "sqlite":
        return column.contains(search, autoescape=True)
    return column.icontains(search, autoescape=True)
