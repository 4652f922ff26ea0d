"""Which key may do what at which channel: the database's answer, and a memory of it for the hot path."""

import threading
from dataclasses import dataclass

from cachetools import LRUCache
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app.core.ids import hash_secret
from app.store.db import Database
from app.store.scope import scope_for
from app.store.tables import ApiKey, Channel
from app.store.tenants import Principal, Role, authenticate

ENTRIES = 10_000
Question = tuple[str, str | None, str, Role]


@dataclass(frozen=True, slots=True)
class Access:
    """A principal at one of its channels."""

    principal: Principal
    channel: Channel

    @property
    def channel_id(self) -> str:
        """The channel's id."""
        return self.channel.id

    @property
    def actor(self) -> str:
        """Who is written down as having done it."""
        return self.principal.key_id


def access_of(s: Session, secret: str, tenant: str | None, channel: str, needs: Role) -> Access:
    """What the database says; raises `Unauthorized`, `Forbidden`, `Invalid` and `NotFound`."""
    scope = scope_for(s, authenticate(s, secret), tenant, needs)
    return Access(scope.principal, scope.channel(s, channel))


class RememberedAccess:
    """Remembers who was let in, never who was not. Everything is forgotten when any key was made or revoked.

    A revocation works at once in the process that did it, in others when their next `look` sees it: at the
    wake-up, or after `poll_seconds` where Redis is away.
    """

    def __init__(self, db: Database) -> None:
        self._db = db
        self._found: LRUCache[Question, Access] = LRUCache(ENTRIES)
        self._lock = threading.Lock()
        self._keys = (-1, -1)  # how many there are and how many are revoked: both only rise
        self._epoch = 0

    def get(self, secret: str, tenant: str | None, channel: str, needs: Role) -> Access | None:
        """The answer, if it is remembered; never waits."""
        with self._lock:
            return self._found.get((hash_secret(secret), tenant, channel, needs))

    def ask(self, secret: str, tenant: str | None, channel: str, needs: Role) -> Access:
        """Ask the database and remember; raises as `access_of` does."""
        epoch = self._epoch
        with self._db.read() as s:
            access = access_of(s, secret, tenant, channel, needs)
        with self._lock:
            if epoch == self._epoch:  # else a key may have been revoked since it was read
                self._found[hash_secret(secret), tenant, channel, needs] = access
        return access

    def look(self, s: Session) -> None:
        """Forget everything if any key has been made or revoked since the last look."""
        row = s.execute(select(func.count(), func.count(ApiKey.revoked_at)).select_from(ApiKey)).one()
        keys = (row[0], row[1])
        if keys != self._keys:
            self._keys = keys
            self.forget()

    def forget(self) -> None:
        """Forget everything."""
        with self._lock:
            self._epoch += 1
            self._found.clear()
