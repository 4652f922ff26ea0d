"""Requests a second of each tenant, counted in Redis by all processes together."""

import asyncio
import time
from collections import defaultdict
from typing import cast

from limits import RateLimitItemPerSecond
from limits.aio.storage import RedisStorage
from limits.aio.storage.redis.redispy import RedispyBridge
from limits.aio.strategies import MovingWindowRateLimiter
from limits.storage import MemoryStorage
from limits.strategies import MovingWindowRateLimiter as LocalLimiter
from redis.exceptions import RedisError

from app.core.errors import OverRate
from app.core.names import RATES
from app.store.patient import PATIENCE, Around
from app.store.quotas import TenantLimits

CHUNKS = 20  # a second: what a process takes at once, and how long a refusal stands


class Rates:
    """Lets requests in. Used on one event loop.

    A process takes a twentieth of a second's requests at once and spends them by itself, so a limit is exact
    to that. While Redis is away each process counts for itself, and refuses nobody because of that.
    """

    def __init__(self, limits: TenantLimits, redis_url: str) -> None:
        self._limits = limits
        storage = RedisStorage(
            _async_url(redis_url),
            implementation="redispy",
            key_prefix=RATES,
            socket_timeout=PATIENCE,
            socket_connect_timeout=PATIENCE,
        )
        self._redis = MovingWindowRateLimiter(storage)
        self._client = cast(RedispyBridge, storage.bridge).storage
        self._local = LocalLimiter(MemoryStorage())
        self._left: defaultdict[str, int] = defaultdict(int)  # taken and not spent, by tenant
        self._full_until: defaultdict[str, float] = defaultdict(float)
        self._taking: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._around = Around("each process counts requests by itself")

    def limits(self, tenant_id: str | None) -> bool:
        """Whether the requests of this tenant's keys count; the platform operator's (None) do not."""
        return tenant_id is not None and self._limits.of(tenant_id).requests_per_second > 0

    async def spend(self, tenant_id: str | None) -> None:
        """Count a request of this tenant's keys; raises `OverRate`."""
        if tenant_id is None:
            return
        rate = self._limits.of(tenant_id).requests_per_second
        if rate and not self._spent(tenant_id):
            async with self._taking[tenant_id]:  # one takes for all that wait
                if not self._spent(tenant_id):
                    await self._take(tenant_id, rate)

    async def close(self) -> None:
        """Close the connections to Redis."""
        await self._client.aclose()

    def _spent(self, tenant_id: str) -> bool:
        if not self._left[tenant_id]:
            return False
        self._left[tenant_id] -= 1
        return True

    async def _take(self, tenant_id: str, rate: int) -> None:
        """Take a chunk, of which this request is the first; raises `OverRate`."""
        size = max(1, rate // CHUNKS)
        # An entry of the window is a chunk, not a request: it holds 40 at most.
        chunks = RateLimitItemPerSecond(rate // size)
        if time.monotonic() >= self._full_until[tenant_id]:
            if await self._hit(chunks, tenant_id):
                self._left[tenant_id] += size - 1
                return
            self._full_until[tenant_id] = time.monotonic() + 1 / CHUNKS
        raise OverRate(
            f"The tenant's limit is {rate:,} requests a second. Try again in a second; ask the platform's "
            "operator for a higher limit."
        )

    async def _hit(self, chunks: RateLimitItemPerSecond, tenant_id: str) -> bool:
        """Whether Redis's window has room for a chunk, or while it is away this process's own."""
        if self._around.may_ask():
            try:
                has_room = await self._redis.hit(chunks, tenant_id)
            except (RedisError, OSError) as error:
                self._around.away(error)
            else:
                self._around.back()
                return has_room
        return self._local.hit(chunks, tenant_id)


def _async_url(url: str) -> str:
    scheme, _, rest = url.partition("://")
    return f"async+redis+unix://{rest}" if scheme == "unix" else f"async+{scheme}://{rest}"
