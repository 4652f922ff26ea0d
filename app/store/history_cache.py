"""Histories in Redis: a copy a user, which goes at every event of the user.

    transrec:history:{channel}:{user}     [events_revision, [item ids, oldest first]]
    transrec:history-version:{bucket}     how many events its users had

Who fills a copy from the database has read the version before. The copy is stored only if the version is
still the same, so a history that was read before an event is never put back after it. Users share a bucket at
random: versions then need no expiry and hold no user's id, and another user's event costs at most one copy.
"""

import json
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from functools import partial
from typing import Any, NamedTuple, TypeVar, cast

import redis.asyncio as redis
from redis.exceptions import RedisError

from app.core.names import FORGET_HISTORIES, HISTORIES, HISTORY_VERSIONS
from app.store.chunks import chunked
from app.store.patient import Away, PatientRedis

KEPT_SECONDS = 24 * 3600
EMPTY_SECONDS = 60  # anybody can ask for users that nobody has heard of
BUCKETS = 4096
TOLD_AT_ONCE = 500  # users in one message
_QUIET_SECONDS = 30.0  # without a message; then the connection is looked at

_STORE = """
if (redis.call('GET', KEYS[1]) or '') == ARGV[1] then
    redis.call('SET', KEYS[2], ARGV[2], 'EX', ARGV[3])
end
"""
# One command for many users: two commands a user take ten times the CPU, all of it on the event loop.
_FORGET = """
for i = 1, #KEYS, 2 do
    redis.call('INCR', KEYS[i])
    redis.call('DEL', KEYS[i + 1])
end
return redis.call('PUBLISH', ARGV[1], ARGV[2])
"""
History = tuple[str, ...]
Key = tuple[str, str]
"""A channel's id and a user's."""
T = TypeVar("T")


class Kept(NamedTuple):
    """A history, and the channel's `events_revision` with which it was read."""

    revision: int
    history: History


class Found(NamedTuple):
    """What Redis has of a user: the version to store under, and the copy if there is one."""

    version: bytes
    kept: Kept | None


class HistoryCache:
    """The copies in Redis. Nothing here raises for a Redis that is away: None or False says so."""

    def __init__(self, url: str) -> None:
        self._redis = PatientRedis(url, "histories come from the database")
        # Of its own: it waits for messages without a limit.
        self._listener = redis.Redis.from_url(
            url, socket_connect_timeout=1.0, health_check_interval=int(_QUIET_SECONDS)
        )

    async def close(self) -> None:
        """Close the connections."""
        await self._redis.close()
        await self._listener.aclose()

    async def find(self, key: Key) -> Found | None:
        """What is kept; None while Redis is away."""
        answer = await self._ask(lambda client: client.mget(_version_key(key), _key(key)))
        if answer is None:
            return None
        version, stored = cast(list[bytes | None], answer)
        return Found(version or b"", None if stored is None else _decoded(stored))

    async def store(self, key: Key, version: bytes, kept: Kept) -> None:
        """Keep a history that was read after `version`, unless there has been an event since."""
        seconds = KEPT_SECONDS if kept.history else EMPTY_SECONDS
        names = (_version_key(key), _key(key))
        await self._ask(lambda client: client.eval(_STORE, 2, *names, version, json.dumps(kept), seconds))

    async def forget(self, keys: Iterable[Key]) -> bool:
        """Drop these copies and tell every process; False when it could not be done, or not wholly."""
        told = [await self._ask(partial(_forget, keys=chunk)) for chunk in chunked(keys, TOLD_AT_ONCE)]
        return all(answer is not None for answer in told)

    async def holds(self, keys: Sequence[Key]) -> list[bool] | None:
        """Whether there is a copy of each; None while Redis is away."""
        answers = [await self._ask(partial(_exist, keys=chunk)) for chunk in chunked(keys, TOLD_AT_ONCE)]
        if any(answer is None for answer in answers):
            return None
        return [bool(found) for answer in answers for found in answer or ()]

    async def messages(self) -> AsyncIterator[list[Key] | None]:
        """Yield None once it listens (any message may have been missed before), then what was forgotten
        elsewhere; ends with Redis gone.
        """
        try:
            async with self._listener.pubsub() as subscription:
                await subscription.subscribe(FORGET_HISTORIES)
                while True:
                    message = await subscription.get_message(timeout=_QUIET_SECONDS)
                    if message is None or message["type"] not in ("subscribe", "message"):
                        continue
                    # It subscribes anew whenever it has lost the connection.
                    yield None if message["type"] == "subscribe" else _told(message["data"])
        except (RedisError, OSError):
            return

    async def _ask(self, command: Callable[[redis.Redis], Awaitable[T]]) -> T | None:
        """What Redis answers; None while it is away, and if it refuses (memory)."""
        try:
            return await self._redis.call(command)
        except Away:
            return None


async def _forget(client: redis.Redis, keys: Sequence[Key]) -> object:
    names = [name for key in keys for name in (_version_key(key), _key(key))]
    return await client.eval(_FORGET, len(names), *names, FORGET_HISTORIES, json.dumps(keys))


async def _exist(client: redis.Redis, keys: Sequence[Key]) -> list[Any]:
    async with client.pipeline(transaction=False) as commands:
        for key in keys:
            commands.exists(_key(key))
        return await commands.execute()


def _key(key: Key) -> str:
    # The user's id comes last: whatever is in it, no other key can look the same.
    return f"{HISTORIES}:{key[0]}:{key[1]}"


def _version_key(key: Key) -> str:
    return f"{HISTORY_VERSIONS}:{zlib.crc32(':'.join(key).encode()) % BUCKETS}"


def _decoded(stored: bytes) -> Kept | None:
    """What is no history counts as absent."""
    try:
        revision, found = json.loads(stored)
    except (ValueError, TypeError, RecursionError):
        return None
    if not isinstance(revision, int) or not isinstance(found, list):
        return None
    return Kept(revision, tuple(found)) if all(isinstance(item_id, str) for item_id in found) else None


def _told(data: bytes) -> list[Key] | None:
    """The users of a message; None, which is all of them, for what is no message of ours."""
    try:
        return [(str(channel_id), str(user_id)) for channel_id, user_id in json.loads(data)]
    except (ValueError, TypeError, RecursionError):
        return None
