"""Which key may do what at which channel: the database's answer, and a memory of it for the hot path."""

import threading
import time
from collections.abc import Set
from dataclasses import dataclass

from cachetools import TLRUCache
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app.core.ids import hash_secret
from app.core.request import note
from app.store.db import Database
from app.store.quotas import Limits, TenantLimits
from app.store.scope import scope_for
from app.store.tables import ApiKey, Channel
from app.store.tenants import SESSION_PREFIX, Principal, Role, authenticate

ENTRIES = 10_000
KEPT_SECONDS = 24 * 3600.0  # long: answers go on while the database is away
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
    def tenant_id(self) -> str:
        """The id of the channel's tenant."""
        return self.channel.tenant_id

    @property
    def actor(self) -> str:
        """Who is written down as having done it."""
        return self.principal.key_id


def access_of(s: Session, secret: str, tenant: str | None, channel: str, needs: Role) -> Access:
    """What the database says; raises `Unauthorized`, `Forbidden`, `Invalid` and `NotFound`."""
    return access_for(s, authenticate(s, secret), tenant, channel, needs)


def access_for(s: Session, principal: Principal, tenant: str | None, channel: str, needs: Role) -> Access:
    """The same for somebody who is known; raises `Forbidden`, `Invalid` and `NotFound`."""
    scope = scope_for(s, principal, tenant, needs)
    return Access(scope.principal, scope.channel(s, channel))


class RememberedAccess:
    """Remembers who was let in, never who was not; nothing longer than a minute, or than its key lasts.

    Everything is forgotten when any key was made or revoked, and when a channel is gone: at once in the
    process that did it, in others when their next `look` sees it, at the wake-up, or after `poll_seconds`
    where Redis is away. The same look reads the tenants' limits.
    """

    def __init__(self, db: Database, limits: TenantLimits | None = None) -> None:
        self._db = db
        self.limits = limits or TenantLimits(Limits())
        self._found: TLRUCache[Question, Access] = TLRUCache(ENTRIES, _until, time.time)
        self._lock = threading.Lock()
        self._keys: tuple[object, ...] = ()
        self._channels: Set[str] = frozenset()
        self._epoch = 0

    def get(self, secret: str, tenant: str | None, channel: str, needs: Role) -> Access | None:
        """The answer, if it is remembered; never waits."""
        with self._lock:
            found = self._found.get((hash_secret(secret), tenant, channel, needs))
        if found is not None:
            note(key_id=found.principal.key_id, tenant_id=found.principal.tenant_id)
        return found

    def ask(self, secret: str, tenant: str | None, channel: str, needs: Role) -> Access:
        """Ask the database and remember; raises as `access_of` does."""
        epoch = self._epoch
        with self._db.read() as s:
            access = access_of(s, secret, tenant, channel, needs)
        with self._lock:
            # Not if a key may have been revoked since it was read; a console session can end at any time.
            if epoch == self._epoch and not secret.startswith(SESSION_PREFIX):
                self._found[hash_secret(secret), tenant, channel, needs] = access
        return access

    def look(self, s: Session) -> None:
        """Forget everything if any key has been made or revoked since the last look; read the limits."""
        # Counts alone only rise, unless a tenant is deleted with its keys: hence the newest one's id.
        counts = (
            func.count(),
            func.count(ApiKey.revoked_at),
            func.count(ApiKey.expires_at),
            func.max(ApiKey.id),
        )
        keys = tuple(s.execute(select(*counts).select_from(ApiKey)).one())
        if keys != self._keys:
            self._keys = keys
            self.forget()
        self.limits.look(s)

    def keep_only(self, channel_ids: Set[str]) -> None:
        """Forget everything if a channel is gone since the last look: its name may be another one's now."""
        if not self._channels <= channel_ids:
            self.forget()
        self._channels = channel_ids

    def forget(self) -> None:
        """Forget everything."""
        with self._lock:
            self._epoch += 1
            self._found.clear()


def _until(_question: Question, access: Access, now: float) -> float:
    """When an answer is no longer to be used, in seconds since 1970."""
    expires_at = access.principal.expires_at
    return now + KEPT_SECONDS if expires_at is None else min(now + KEPT_SECONDS, expires_at.timestamp())
