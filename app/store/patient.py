"""Redis for the hot path: asked with little patience, and not at all for a while once it was away."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

import redis.asyncio as redis
from redis.exceptions import RedisError, ResponseError

log = logging.getLogger(__name__)
CONNECTIONS = 32  # who asks for more waits for one of them, without losing patience
PATIENCE = 0.05  # seconds that a request waits for Redis
AROUND_SECONDS = 1.0  # once it was away, nobody asks it for so long
T = TypeVar("T")


class Away(Exception):  # noqa: N818 - as in app.core.errors
    """Redis does not answer, or refuses (memory, a value of another type)."""


class Around:
    """Whether Redis is gone around. Once it was away nobody asks it for a while; then one tries it, and the
    others still go around. `else_` says in the log what happens meanwhile.
    """

    def __init__(self, else_: str) -> None:
        self._else = else_
        self.until = 0.0  # by the monotonic clock; 0 while Redis is there

    def may_ask(self) -> bool:
        """Whether to ask it now."""
        if not self.until:
            return True
        if time.monotonic() < self.until:
            return False
        self.until = time.monotonic() + AROUND_SECONDS  # this one tries, the others go around
        return True

    def away(self, error: Exception) -> None:
        """It did not answer."""
        if not self.until:
            log.warning("Redis is away (%s): %s", type(error).__name__, self._else)
        self.until = time.monotonic() + AROUND_SECONDS

    def back(self) -> None:
        """It has answered."""
        if self.until:
            log.warning("Redis is back (it was away: %s)", self._else)
        self.until = 0.0


class PatientRedis:
    """Used on one event loop; `else_` as of `Around`."""

    def __init__(self, redis_url: str, else_: str) -> None:
        self._redis = redis.Redis.from_url(
            redis_url, socket_timeout=PATIENCE, socket_connect_timeout=PATIENCE
        )
        self._asking = asyncio.Semaphore(CONNECTIONS)
        self._around = Around(else_)

    async def ask(self, *command: str | bytes | int) -> bytes | None:
        """What Redis answers to one command; raises `Away`."""
        return await self.call(lambda client: client.execute_command(*command))  # type: ignore[no-untyped-call]

    async def call(self, command: Callable[[redis.Redis], Awaitable[T]]) -> T:
        """What Redis answers to a command or a pipeline of some; raises `Away`."""
        async with self._asking:
            if not self._around.may_ask():
                raise Away
            try:
                answer = await command(self._redis)
            except ResponseError as error:
                self._around.back()
                raise Away from error
            except (RedisError, OSError) as error:
                self._around.away(error)
                raise Away from error
            self._around.back()
            return answer

    async def close(self) -> None:
        """Close the connections."""
        await self._redis.aclose()
