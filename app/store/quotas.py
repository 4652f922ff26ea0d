"""What a tenant may have: the limits of each, remembered, and the one check of its quotas."""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from sqlalchemy import ColumnElement, Select, Text, cast, func, select
from sqlalchemy.orm import Session

from app.core.errors import OverQuota
from app.store.jobs import OPEN
from app.store.tables import Adapter, Channel, Interaction, Item, ItemImage, Tenant, TrainingJob


@dataclass(frozen=True, slots=True)
class Limits:
    """Most of each that a tenant may have; 0: any number."""

    channels: int = 0
    items: int = 0
    interactions: int = 0
    jobs: int = 0
    bytes: int = 0
    requests_per_second: int = 0


class TenantLimits:
    """The limits of every tenant, in memory: who has none pays nothing. `look` reads what was changed."""

    def __init__(self, defaults: Limits) -> None:
        self.defaults = defaults
        self._own: Mapping[str, Limits] = {}

    def of(self, tenant_id: str) -> Limits:
        """The tenant's limits, as of the last look."""
        return self._own.get(tenant_id, self.defaults)

    def with_overrides(self, overrides: Mapping[str, Any]) -> Limits:
        """The defaults with these in their place."""
        known = asdict(self.defaults)
        return replace(self.defaults, **{name: value for name, value in overrides.items() if name in known})

    def look(self, s: Session) -> None:
        """Read the limits of the tenants that have any of their own."""
        # PostgreSQL's JSON has no equality, its text does.
        own = select(Tenant.id, Tenant.limits).where(cast(Tenant.limits, Text) != "{}")
        self._own = {tenant_id: self.with_overrides(limits) for tenant_id, limits in s.execute(own)}

    def check(self, s: Session, tenant_id: str, name: str) -> None:
        """Raise `OverQuota` if the tenant has more than its quota of `name` ("items", ...) by now.

        It belongs at the end of the transaction that wrote, which then writes nothing.
        """
        quota: int = getattr(self.of(tenant_id), name)
        if quota:
            enforce(s, tenant_id, name, quota)


def enforce(s: Session, tenant_id: str, name: str, quota: int) -> None:
    """Raise `OverQuota` above `quota`; of writers at once each sees what those before it have committed."""
    # Taken last and kept to the commit. Less than FOR UPDATE, which would deadlock with the foreign keys of
    # two channels that are made at once. On SQLite writers take turns anyway.
    s.execute(select(Tenant.id).where(Tenant.id == tenant_id).with_for_update(key_share=True))
    used = _used(s, tenant_id, name)
    if used > quota:
        raise OverQuota(
            f"The tenant would have {used:,} {_WORDS.get(name, name)}, and its quota is {quota:,}; nothing "
            f"was written. {_REMEDIES[name]}, or ask the platform's operator for a higher quota.",
            quota=name,
            limit=quota,
            used=used,
        )


def usage(s: Session, tenant_id: str) -> dict[str, int]:
    """Return how much of each the tenant has, by the name of its quota."""
    return {name: _used(s, tenant_id, name) for name in _COUNTS}


def _used(s: Session, tenant_id: str, name: str) -> int:
    return sum(s.scalar(query) or 0 for query in _COUNTS[name](tenant_id))


def _of(tenant_id: str, table: Any, what: ColumnElement[int]) -> Select[Any]:
    mine = select(Channel.id).where(Channel.tenant_id == tenant_id)
    return select(what).select_from(table).where(table.channel_id.in_(mine))


# Lengths come from the database, the bytes stay there.
_COUNTS: dict[str, Callable[[str], list[Select[Any]]]] = {
    "channels": lambda t: [select(func.count()).select_from(Channel).where(Channel.tenant_id == t)],
    "items": lambda t: [_of(t, Item, func.count())],
    "interactions": lambda t: [_of(t, Interaction, func.count())],
    "jobs": lambda t: [_of(t, TrainingJob, func.count()).where(TrainingJob.state.in_(OPEN))],
    "bytes": lambda t: [
        _of(t, ItemImage, func.sum(func.length(ItemImage.data))),
        _of(t, Adapter, func.sum(func.length(Adapter.weights))),
    ],
}
_WORDS = {"jobs": "training jobs that wait or run", "bytes": "bytes of images and adapters"}
_REMEDIES = {
    "channels": "Delete a channel",
    "items": "Delete items",
    "interactions": "Delete users or a channel",
    "jobs": "Wait for one to end, or cancel one",
    "bytes": "Delete images or a channel",
}
