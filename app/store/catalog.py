"""The items of a channel."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Row, func, select
from sqlalchemy.orm import Session

from app.store.chunks import chunked
from app.store.db import insert_into
from app.store.tables import Item

_CHUNK = 500  # ids in one IN (...): below every database's limit of parameters


@dataclass(frozen=True, slots=True)
class ItemRow:
    """An item: its id, the text that the encoder reads, and whatever else is known of it."""

    item_id: str
    text: str
    attributes: dict[str, Any] = field(default_factory=dict)


def upsert_items(s: Session, channel_id: str, rows: list[ItemRow]) -> tuple[int, int, int]:
    """Insert new items and replace changed ones; returns how many were (inserted, updated, unchanged).

    Of two rows with one id the later one counts.
    """
    inserted = updated = unchanged = 0
    for chunk in chunked({row.item_id: row for row in rows}.values(), _CHUNK):
        stored = get_items(s, channel_id, [row.item_id for row in chunk])
        changed = [row for row in chunk if stored.get(row.item_id) != row]
        _write(s, channel_id, changed)
        new = sum(row.item_id not in stored for row in changed)
        inserted, updated = inserted + new, updated + len(changed) - new
        unchanged += len(chunk) - len(changed)
    return inserted, updated, unchanged


def _write(s: Session, channel_id: str, rows: list[ItemRow]) -> None:
    if not rows:
        return
    insert = insert_into(s, Item)
    statement = insert.on_conflict_do_update(
        index_elements=["channel_id", "item_id"],
        set_={"text": insert.excluded.text, "attributes": insert.excluded.attributes},
    )
    s.execute(
        statement,
        [
            {
                "channel_id": channel_id,
                "item_id": row.item_id,
                "text": row.text,
                "attributes": row.attributes,
            }
            for row in rows
        ],
    )


def load_items(s: Session, channel_id: str) -> list[ItemRow]:
    """Return the whole catalogue in order of arrival."""
    query = select(Item.item_id, Item.text, Item.attributes).where(Item.channel_id == channel_id)
    return [_row(found) for found in s.execute(query.order_by(Item.seq))]


def get_items(s: Session, channel_id: str, ids: Iterable[str]) -> dict[str, ItemRow]:
    """Return the items of these ids that there are, by id."""
    items: dict[str, ItemRow] = {}
    for chunk in chunked(ids, _CHUNK):
        query = select(Item.item_id, Item.text, Item.attributes).where(
            Item.channel_id == channel_id, Item.item_id.in_(chunk)
        )
        items |= {found.item_id: _row(found) for found in s.execute(query)}
    return items


def _row(found: Row[tuple[str, str, dict[str, Any]]]) -> ItemRow:
    return ItemRow(found.item_id, found.text, found.attributes)


def item_ids(s: Session, channel_id: str) -> set[str]:
    """Return the ids of the whole catalogue."""
    return set(s.scalars(select(Item.item_id).where(Item.channel_id == channel_id)))


def count_items(s: Session, channel_id: str) -> int:
    """Return how many items the channel has."""
    return s.scalar(select(func.count()).select_from(Item).where(Item.channel_id == channel_id)) or 0
