"""The items of a channel."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from sqlalchemy import Row, delete, exists, func, select, update
from sqlalchemy.orm import Session

from app.core.errors import NotFound
from app.store import revisions
from app.store.bulk import insert_rows
from app.store.chunks import chunked
from app.store.db import insert_into
from app.store.tables import DeletedItem, Item

_CHUNK = 500  # ids in one IN (...): below every database's limit of parameters
_ROWS = 1000  # written at once: each may have a hundred kilobytes
_FEW = 100  # up to so many are written without a table of their own
_COLUMNS = (Item.item_id, Item.text, Item.attributes)


@dataclass(frozen=True, slots=True)
class ItemRow:
    """An item: its id, the text that the encoder reads, and whatever else is known of it."""

    item_id: str
    text: str
    attributes: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Changes:
    """What was written after a revision, up to `revision`: items in order of arrival, ids of deleted ones.

    An item is among `items` also if only its image was set, replaced or deleted.
    """

    revision: int
    items: tuple[ItemRow, ...]
    deleted: tuple[str, ...]


def upsert_items(s: Session, channel_id: str, rows: Iterable[ItemRow]) -> tuple[int, int, int]:
    """Insert new items and replace changed ones; returns how many were (inserted, updated, unchanged).

    Of two rows with one id the later one counts. Any change raises the channel's `items_revision`, once.
    """
    revision = revisions.next_items(s, channel_id)
    inserted = updated = unchanged = 0
    is_empty = revision == 1 and not _has_items(s, channel_id)
    written: set[str] = set()  # in an empty catalogue only these need be looked up
    for chunk in chunked(rows, _ROWS):
        given = {row.item_id: row for row in chunk}
        stored = get_items(s, channel_id, given.keys() & written if is_empty else given)
        changed = [row for row in given.values() if not _is_same(row, stored.get(row.item_id))]
        new = [row.item_id for row in changed if row.item_id not in stored]
        _write(s, channel_id, changed, revision)
        if is_empty:
            written.update(new)
        else:
            _unbury(s, channel_id, new)
        inserted, updated = inserted + len(new), updated + len(changed) - len(new)
        unchanged += len(given) - len(changed)
    if inserted or updated:
        revisions.raise_items(s, channel_id)
    return inserted, updated, unchanged


def _is_same(row: ItemRow, stored: ItemRow | None) -> bool:
    # Python's 1 equals True and 1.0; JSON's does not.
    return row == stored and _json(row) == _json(stored)


def _json(row: ItemRow) -> str:
    return json.dumps(row.attributes, sort_keys=True)


def _has_items(s: Session, channel_id: str) -> bool:
    return bool(s.scalar(select(exists().where(Item.channel_id == channel_id))))


def _write(s: Session, channel_id: str, rows: Sequence[ItemRow], revision: int) -> None:
    insert = insert_into(s, Item)
    replaced = {name: insert.excluded[name] for name in ("text", "attributes", "revision")}
    upsert = insert.on_conflict_do_update(index_elements=["channel_id", "item_id"], set_=replaced)
    if len(rows) > _FEW:
        names = ("channel_id", "item_id", "text", "attributes", "revision")
        values = ((channel_id, r.item_id, r.text, json.dumps(r.attributes), revision) for r in rows)
        insert_rows(s, upsert, names, values)
    elif rows:
        s.execute(upsert, [asdict(row) | {"channel_id": channel_id, "revision": revision} for row in rows])


def _unbury(s: Session, channel_id: str, ids: list[str]) -> None:
    """Take back that these items were deleted."""
    for chunk in chunked(ids, _CHUNK):
        s.execute(
            delete(DeletedItem).where(DeletedItem.channel_id == channel_id, DeletedItem.item_id.in_(chunk))
        )


def touch_items(s: Session, channel_id: str, ids: list[str], revision: int) -> None:
    """Mark items as written at `revision`, because their images are; raises `NotFound` for unknown ones."""
    for chunk in chunked(ids, _CHUNK):
        statement = update(Item).where(Item.channel_id == channel_id, Item.item_id.in_(chunk))
        found = set(s.scalars(statement.values(revision=revision).returning(Item.item_id)))
        for item_id in chunk:
            if item_id not in found:
                raise NotFound(f"There is no item {item_id[:80]!r} in the channel. Import it first.")


def delete_items(s: Session, channel_id: str, ids: Iterable[str]) -> int:
    """Delete those of the items that there are, with their images; returns how many.

    Their interactions stay: they are their users' history, and count again if the item comes back.
    """
    revision = revisions.next_items(s, channel_id)
    deleted = 0
    for chunk in chunked(ids, _CHUNK):
        statement = delete(Item).where(Item.channel_id == channel_id, Item.item_id.in_(chunk))
        gone = s.scalars(statement.returning(Item.item_id)).all()
        _bury(s, channel_id, gone, revision)
        deleted += len(gone)
    if deleted:
        revisions.raise_items(s, channel_id)
    return deleted


def _bury(s: Session, channel_id: str, ids: Sequence[str], revision: int) -> None:
    rows = [{"channel_id": channel_id, "item_id": item_id, "revision": revision} for item_id in ids]
    if rows:
        s.execute(insert_into(s, DeletedItem), rows)


def changes_since(s: Session, channel_id: str, revision: int) -> Changes:
    """Return what was written after `revision`; call it in a session that only reads, which is one snapshot.

    -1 asks for everything. Raises `NotFound` when the channel is gone.
    """
    items = select(*_COLUMNS).where(Item.channel_id == channel_id, Item.revision > revision)
    deleted = select(DeletedItem.item_id).where(
        DeletedItem.channel_id == channel_id, DeletedItem.revision > revision
    )
    return Changes(
        revisions.items_revision(s, channel_id),
        tuple(_row(found) for found in s.execute(items.order_by(Item.seq))),
        tuple(s.scalars(deleted.order_by(DeletedItem.item_id))),
    )


def load_items(s: Session, channel_id: str) -> list[ItemRow]:
    """Return the whole catalogue in order of arrival."""
    query = select(*_COLUMNS).where(Item.channel_id == channel_id)
    return [_row(found) for found in s.execute(query.order_by(Item.seq))]


def get_items(s: Session, channel_id: str, ids: Iterable[str]) -> dict[str, ItemRow]:
    """Return the items of these ids that there are, by id."""
    items: dict[str, ItemRow] = {}
    for chunk in chunked(ids, _CHUNK):
        query = select(*_COLUMNS).where(Item.channel_id == channel_id, Item.item_id.in_(chunk))
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
