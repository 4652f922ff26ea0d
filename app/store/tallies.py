"""How many items, images and interactions channels have: counted again only where their revisions say so."""

import threading
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from cachetools import LRUCache
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app.store.chunks import MOST_IDS, chunked
from app.store.tables import Channel, Interaction, Item, ItemImage

MOST = 20_000  # channels whose counts are kept


@dataclass(frozen=True, slots=True)
class Tally:
    """What a channel has."""

    items: int
    images: int
    interactions: int


class Tallies:
    """Exact at every look; a channel of a million rows is counted once, not at every page that shows it."""

    def __init__(self) -> None:
        self._items, self._images = _Counts(Item), _Counts(ItemImage)
        self._interactions = _Counts(Interaction)

    def of(self, s: Session, channel_ids: Collection[str]) -> dict[str, Tally]:
        """Return the tally of those channels that are there; `s` only reads, so it is one snapshot."""
        query = select(Channel.id, Channel.items_revision, Channel.events_revision, Channel.pending_events)
        rows = [
            row
            for chunk in chunked(channel_ids, MOST_IDS)
            for row in s.execute(query.where(Channel.id.in_(chunk)))
        ]
        catalogue = {row.id: row.items_revision for row in rows}
        events = {row.id: row.events_revision for row in rows}
        # Events that come one by one raise no revision, but are counted by themselves.
        pending = {row.id: row.pending_events for row in rows}
        items = self._items.of(s, catalogue)
        images = self._images.of(s, catalogue)
        settled = self._interactions.of(s, events, less=pending)
        return {c: Tally(items[c], images[c], settled[c] + pending[c]) for c in catalogue}


class _Counts:
    """The rows of one table by channel, each count with the revision that it is of."""

    def __init__(self, table: Any) -> None:
        self._table = table
        self._known: LRUCache[str, tuple[int, int]] = LRUCache(MOST)
        self._lock = threading.Lock()

    def of(
        self, s: Session, revisions: Mapping[str, int], less: Mapping[str, int] | None = None
    ) -> dict[str, int]:
        """The counts at these revisions, each less so many."""
        with self._lock:
            known = {c: self._known.get(c) for c in revisions}
        counts = {c: found[1] for c, found in known.items() if found and found[0] == revisions[c]}
        new = self._count(s, revisions.keys() - counts)
        counts |= {c: n - (less or {}).get(c, 0) for c, n in new.items()}
        with self._lock:
            self._known.update({c: (revisions[c], n) for c, n in counts.items()})
        return counts

    def _count(self, s: Session, channel_ids: Collection[str]) -> dict[str, int]:
        counts = dict.fromkeys(channel_ids, 0)
        channel_id = self._table.channel_id
        for chunk in chunked(sorted(channel_ids), MOST_IDS):
            query = select(channel_id, func.count()).where(channel_id.in_(chunk)).group_by(channel_id)
            counts |= dict(s.execute(query).all())
        return counts
