"""Users' histories for the hot path: in this process, else in Redis, else in the database, the truth.

Two things make a kept history old.

An import raises the channel's `events_revision`. A history is kept with the revision that was read with it,
in one snapshot, so it lacks no interaction of that revision; who asks as of a later one does not get it.

An event raises no revision. Whoever has committed it calls `forget`, which drops the user's history here, in
Redis, and by a message in every other process. A reader under way at that moment keeps nothing: here by its
mark in `_reading`, in Redis by the version that it read first (`app.store.history_cache`). Where Redis could
not be told, the channel's revision is raised instead, by `app.serving.settle`; until this process knows the
raised one, it asks the database alone.
"""

import asyncio
from collections.abc import Collection, Iterable, Mapping
from math import inf

from cachetools import LRUCache

from app.store import events, revisions
from app.store.db import Database
from app.store.history_cache import History, HistoryCache, Kept, Key
from app.store.patient import AROUND_SECONDS

ENTRIES = 50_000
LONGEST = 10_000  # ids of a history that is kept; longer ones are read at every request
WEIGHED = 100  # ids; in this process a history counts once for each so many, so that long ones cannot fill it


class Histories:
    """Item ids that a user met, oldest first. Used on one event loop."""

    def __init__(self, db: Database, redis_url: str, entries: int = ENTRIES) -> None:
        self._db = db
        self._far = HistoryCache(redis_url)
        self._near: LRUCache[Key, Kept] = LRUCache(entries, _weight)
        self._reading: dict[Key, object] = {}  # a mark of those who read; without it nothing is kept
        self._unheard: set[str] = set()  # channels with events of which Redis could not be told
        self._believed_from: dict[str, float] = {}  # of such: the revision from which Redis counts again
        self._missed = False  # whether messages of others may have been missed
        self.listening = False
        """Whether messages of other processes arrive."""

    def cached(self, channel_id: str, revision: int, user_id: str) -> History | None:
        """The history as of the channel's `events_revision`, if this process has it; never waits."""
        kept = self._near.get((channel_id, user_id))
        return kept.history if kept is not None and kept.revision >= revision else None

    async def get(self, channel_id: str, revision: int, user_id: str) -> History:
        """The history, as new as `revision` and as every event that was committed before the call.

        Raises `NotFound` when the channel is gone, and `Unavailable` when nobody has it.
        """
        key = (channel_id, user_id)
        mark = self._reading.setdefault(key, object())
        try:
            kept = await self._read(key, revision)
            if self._reading.get(key) is mark and self._is_keepable(kept):
                self._near[key] = kept
            return kept.history
        finally:
            if self._reading.get(key) is mark:
                del self._reading[key]

    async def forget(self, keys: Collection[Key]) -> bool:
        """Drop what is kept of users whose interactions have changed: call it after the commit.

        Returns False when Redis could not be told: others then have the old histories for a moment.
        """
        told = await self._far.forget(keys)
        if not told:
            self._unheard |= {channel_id for channel_id, _ in keys}
            self._believed_from |= {channel_id: inf for channel_id, _ in keys}
        # Last: what was read meanwhile may have come from Redis before it was told.
        self._drop(keys)
        return told

    async def listen(self) -> None:
        """Drop what other processes have forgotten; runs until it is cancelled."""
        while True:
            async for keys in self._far.messages():
                if keys is None:
                    self._drop_all()
                    self._missed = self.listening = True
                else:
                    self._drop(keys)
            self.listening = False
            await asyncio.sleep(AROUND_SECONDS)

    def take_unheard(self) -> tuple[set[str], bool]:
        """Channels with events of which nobody else may know, and whether others' may have been missed;
        whoever takes them raises the revisions, or gives them back.
        """
        taken = self._unheard, self._missed
        self._unheard, self._missed = set(), False
        return taken

    def give_back(self, unheard: set[str], missed: bool) -> None:
        """Undo `take_unheard`."""
        self._unheard |= unheard
        self._missed |= missed

    def believe(self, raised: Mapping[str, int]) -> None:
        """Ask Redis again, as of these raised revisions."""
        self._believed_from |= {c: revision for c, revision in raised.items() if c not in self._unheard}

    def is_near(self, key: Key) -> bool:
        """Whether this process keeps something of the user."""
        return key in self._near

    async def are_far(self, keys: list[Key]) -> list[bool] | None:
        """Whether Redis keeps something of each; None while it is away."""
        return await self._far.holds(keys)

    async def close(self) -> None:
        """Close the connections to Redis."""
        await self._far.close()

    async def _read(self, key: Key, revision: int) -> Kept:
        is_believed = revision >= self._believed_from.get(key[0], 0)
        found = await self._far.find(key) if is_believed else None
        if found is not None and found.kept is not None and found.kept.revision >= revision:
            return found.kept
        read = await asyncio.to_thread(self._from_database, key)
        if found is not None and self._is_keepable(read):
            await self._far.store(key, found.version, read)
        return read

    def _from_database(self, key: Key) -> Kept:
        with self._db.read() as s:
            return Kept(revisions.events_revision(s, key[0]), tuple(events.history(s, *key)))

    def _is_keepable(self, kept: Kept) -> bool:
        return len(kept.history) <= LONGEST and _weight(kept) <= self._near.maxsize

    def _drop(self, keys: Iterable[Key]) -> None:
        for key in keys:
            self._near.pop(key, None)
            self._reading.pop(key, None)

    def _drop_all(self) -> None:
        self._near.clear()
        self._reading.clear()


def _weight(kept: Kept) -> int:
    return 1 + len(kept.history) // WEIGHED
