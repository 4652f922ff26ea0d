"""What pages of recommendations have shown, so that the next one can go on: in Redis, for a while.

A page's state holds a user's id and items at most for `seconds`; one that has been gone on from is kept for a
minute more, for a request that is sent again. So a long chain does not fill Redis.
"""

from app.core.errors import NotFound, Unavailable
from app.core.names import PAGES
from app.store.patient import Away, PatientRedis

AGAIN_SECONDS = 60


class Pages:
    """States of pages by channel and recommendation. Used on one event loop."""

    def __init__(self, redis_url: str, seconds: int) -> None:
        self._redis = PatientRedis(redis_url, "recommendations have no next page")
        self._seconds = seconds

    async def keep(self, channel_id: str, recommendation_id: str, state: bytes) -> bool:
        """Keep a page's state; False while Redis is away."""
        try:
            await self._redis.ask("SET", _key(channel_id, recommendation_id), state, "EX", self._seconds)
        except Away:
            return False
        return True

    async def get(self, channel_id: str, recommendation_id: str) -> bytes:
        """The state of the page; raises `NotFound`, and `Unavailable` while Redis is away."""
        again = min(AGAIN_SECONDS, self._seconds)
        try:
            state = await self._redis.ask("GETEX", _key(channel_id, recommendation_id), "EX", again)
        except Away as error:
            raise away() from error
        if state is None:
            raise no_page(recommendation_id)
        return state

    async def close(self) -> None:
        """Close the connections to Redis."""
        await self._redis.close()


def no_page(recommendation_id: str) -> NotFound:
    """What is told where there is nothing to go on from."""
    return NotFound(
        f"There is no page {recommendation_id[:80]!r} to go on from: it was not paged, or it has expired. "
        'Ask for a first page again, with "paged": true.'
    )


def away() -> Unavailable:
    """What is told while Redis is away."""
    return Unavailable("What earlier pages have shown cannot be read or kept now. Try again.", retry_after=2)


def _key(channel_id: str, recommendation_id: str) -> str:
    # What the client sends comes last: whatever is in it, no other key can look the same.
    return f"{PAGES}:{channel_id}:{recommendation_id}"
