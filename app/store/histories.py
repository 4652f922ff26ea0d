"""Users' histories for the hot path: in this process, else in Redis, else in the database, the truth.

The channel's `events_revision` is part of every key: an import raises it, and all older entries can no longer
be found. An entry is stored under the revision that was read with it, in one snapshot, so it never lacks an
interaction of its revision. Interactions are only ever added: one that is newer than its key does no harm.
"""

import asyncio
import json
import logging
import time

import redis.asyncio as redis
from cachetools import LRUCache
from redis.exceptions import RedisError, ResponseError

from app.core.names import HISTORIES
from app.store import events, revisions
from app.store.db import Database

log = logging.getLogger(__name__)
ENTRIES = 50_000
LONGEST = 10_000  # ids of a history that is kept; longer ones are read at every request
WEIGHED = 100  # ids; in this process a history counts once for each so many, so that long ones cannot fill it
KEPT_SECONDS = 24 * 3600
EMPTY_SECONDS = 60  # anybody can ask for users that nobody has heard of
CONNECTIONS = 32  # to Redis; who asks for more waits for one of them, without losing patience
PATIENCE = 0.05  # seconds that a request waits for Redis
AROUND_SECONDS = 1.0  # once it was away, nobody asks it for so long
History = tuple[str, ...]


class Histories:
    """Item ids that a user met, oldest first. Used on one event loop."""

    def __init__(self, db: Database, redis_url: str, entries: int = ENTRIES) -> None:
        self._db = db
        self._redis = redis.Redis.from_url(
            redis_url, socket_timeout=PATIENCE, socket_connect_timeout=PATIENCE
        )
        self._asking = asyncio.Semaphore(CONNECTIONS)
        self._near: LRUCache[tuple[str, int, str], History] = LRUCache(entries, _weight)
        self._around_until = 0.0

    def cached(self, channel_id: str, revision: int, user_id: str) -> History | None:
        """The history as of the channel's `events_revision`, if this process has it; never waits."""
        return self._near.get((channel_id, revision, user_id))

    async def get(self, channel_id: str, revision: int, user_id: str) -> History:
        """The history, as new as `revision` or newer; raises `NotFound` when the channel is gone, and
        `Unavailable` when nobody has it.
        """
        stored = await self._from_redis(_key(channel_id, revision, user_id))
        if stored is not None:
            self._keep((channel_id, revision, user_id), stored)
            return stored
        revision, read = await asyncio.to_thread(self._from_database, channel_id, user_id)
        if len(read) <= LONGEST:
            self._keep((channel_id, revision, user_id), read)
            await self._to_redis(_key(channel_id, revision, user_id), read)
        return read

    async def close(self) -> None:
        """Close the connections to Redis."""
        await self._redis.aclose()

    def _from_database(self, channel_id: str, user_id: str) -> tuple[int, History]:
        with self._db.read() as s:
            return revisions.events_revision(s, channel_id), tuple(events.history(s, channel_id, user_id))

    def _keep(self, key: tuple[str, int, str], history: History) -> None:
        if _weight(history) <= self._near.maxsize:
            self._near[key] = history

    async def _from_redis(self, key: str) -> History | None:
        stored = await self._ask("GET", key)
        return None if stored is None else _decoded(stored)

    async def _to_redis(self, key: str, history: History) -> None:
        seconds = KEPT_SECONDS if history else EMPTY_SECONDS
        await self._ask("SET", key, json.dumps(history), "EX", seconds)

    async def _ask(self, *command: str | int) -> bytes | None:
        """What Redis answers; None while it is away, and if it refuses (memory, a value of another type)."""
        async with self._asking:
            if not self._may_ask():
                return None
            try:
                answer: bytes | None = await self._redis.execute_command(*command)  # type: ignore[no-untyped-call]
            except ResponseError:
                answer = None
            except (RedisError, OSError) as error:
                self._away(error)
                return None
            self._back()
            return answer

    def _may_ask(self) -> bool:
        if not self._around_until:
            return True
        if time.monotonic() < self._around_until:
            return False
        self._around_until = time.monotonic() + AROUND_SECONDS  # this one tries, the others go around
        return True

    def _away(self, error: Exception) -> None:
        if not self._around_until:
            log.warning("Redis is away (%s): histories come from the database", type(error).__name__)
        self._around_until = time.monotonic() + AROUND_SECONDS

    def _back(self) -> None:
        if self._around_until:
            log.warning("Redis is back: histories come from it again")
        self._around_until = 0.0


def _key(channel_id: str, revision: int, user_id: str) -> str:
    # The user's id comes last: whatever is in it, no other key can look the same.
    return f"{HISTORIES}:{channel_id}:{revision}:{user_id}"


def _weight(history: History) -> int:
    return 1 + len(history) // WEIGHED


def _decoded(stored: bytes) -> History | None:
    """What is no list of ids counts as absent."""
    try:
        found = json.loads(stored)
    except (ValueError, RecursionError):
        return None
    is_history = isinstance(found, list) and all(isinstance(item_id, str) for item_id in found)
    return tuple(found) if is_history else None
