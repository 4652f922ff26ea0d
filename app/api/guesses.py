"""Wrong keys, counted by the client's address: nobody guesses keys by force, or hammers the database."""

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from cachetools import LRUCache
from limits import RateLimitItemPerMinute
from limits.storage import MemoryStorage
from limits.strategies import FixedWindowRateLimiter

from app.core.errors import Forbidden, Invalid, NotFound, OverRate, Unauthorized
from app.core.ids import hash_secret
from app.store.tenants import SESSION_PREFIX

log = logging.getLogger(__name__)
WRONG_KEYS = RateLimitItemPerMinute(20)
REFUSED = (Forbidden, Invalid, NotFound)  # by a right key
ENTRIES = 10_000


class Guesses:
    """Wrong keys of the last minute in this process. A key that was right before is not held up by them."""

    def __init__(self) -> None:
        self._limiter = FixedWindowRateLimiter(MemoryStorage())
        self._right: LRUCache[str, None] = LRUCache(ENTRIES)
        self._lock = threading.Lock()

    @contextmanager
    def watched(self, secret: str, address: str) -> Iterator[None]:
        """Around an authentication: counts an `Unauthorized`; raises `OverRate` after too many of them.

        Tokens of console sessions do not count: nobody guesses 256 random bits, and all tabs of an office ask
        with an ended one in the morning.
        """
        if secret.startswith(SESSION_PREFIX):
            yield
            return
        hashed = hash_secret(secret)
        if hashed not in self._right and not self._limiter.test(WRONG_KEYS, address):
            raise OverRate("Too many wrong keys came from this address. Try again in a minute.", 60)
        try:
            yield
        except Unauthorized:
            with self._lock:
                self._right.pop(hashed, None)
            self._limiter.hit(WRONG_KEYS, address)
            log.warning("wrong key from %s", address)
            raise
        except REFUSED:
            self._keep(hashed)
            raise
        self._keep(hashed)

    def _keep(self, hashed: str) -> None:
        with self._lock:
            self._right[hashed] = None
