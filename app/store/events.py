"""Interactions: which user met which item, when."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app.store import revisions
from app.store.bulk import insert_rows
from app.store.chunks import MOST_IDS, chunked
from app.store.db import insert_into
from app.store.tables import Interaction

_CHUNK = 10_000
_ORDER = ('user_id COLLATE "C"', "timestamp")  # that of `event_writes`


class InteractionRow(NamedTuple):
    """A user met an item; `timestamp` is in milliseconds since 1970, UTC."""

    user_id: str
    item_id: str
    timestamp: int


def append_interactions(s: Session, channel_id: str, rows: Iterable[tuple[str, str, int]]) -> int:
    """Add interactions, but none twice; returns how many were new, and raises `events_revision` if any was.

    `rows` are `InteractionRow`s, or tuples like them. It does not check that the items are in the catalogue:
    see `app.store.catalog.get_items`.
    """
    columns = ("channel_id", *InteractionRow._fields)
    insert = insert_into(s, Interaction).on_conflict_do_nothing(index_elements=columns)
    inserted = insert_rows(s, insert, columns, ((channel_id, *row) for row in rows), _ORDER)
    if inserted:
        revisions.raise_events(s, channel_id)
    return inserted


def history(s: Session, channel_id: str, user_id: str, limit: int | None = None) -> list[str]:
    """Return the item ids that a user met, oldest first; with `limit` only the newest so many."""
    query = (
        select(Interaction.item_id)
        .where(Interaction.channel_id == channel_id, Interaction.user_id == user_id)
        .order_by(Interaction.timestamp.desc(), Interaction.seq.desc())
        .limit(limit)
    )
    return list(reversed(s.scalars(query).all()))


def some_histories(s: Session, channel_id: str, users: int, limit: int) -> list[list[str]]:
    """Return the newest `limit` item ids, oldest first, of `users` users at most: a sample for measuring."""
    ids = s.scalars(
        select(Interaction.user_id).where(Interaction.channel_id == channel_id).distinct().limit(users)
    )
    return [history(s, channel_id, user_id, limit) for user_id in ids.all()]


def sequences(s: Session, channel_id: str) -> dict[str, list[str]]:
    """Return the item ids that each user met, oldest first, by user id."""
    query = (
        select(Interaction.user_id, Interaction.item_id)
        .where(Interaction.channel_id == channel_id)
        .order_by(Interaction.user_id, Interaction.timestamp, Interaction.seq)
    )
    users: dict[str, list[str]] = {}
    for user_id, item_id in s.execute(query.execution_options(yield_per=_CHUNK)):
        users.setdefault(user_id, []).append(item_id)
    return users


def popularity(s: Session, channel_id: str, ids: Sequence[str] | None = None) -> dict[str, int]:
    """Return the number of interactions by item id, of each item that has any or of those of `ids`."""
    query = (
        select(Interaction.item_id, func.count())
        .where(Interaction.channel_id == channel_id)
        .group_by(Interaction.item_id)
    )
    if ids is None:
        return dict(s.execute(query).all())
    counts: dict[str, int] = {}
    for chunk in chunked(ids, MOST_IDS):
        counts |= dict(s.execute(query.where(Interaction.item_id.in_(chunk))).all())
    return counts


def count_interactions(s: Session, channel_id: str) -> int:
    """Return how many interactions the channel has."""
    query = select(func.count()).select_from(Interaction).where(Interaction.channel_id == channel_id)
    return s.scalar(query) or 0
