"""Every channel at a glance: a few queries for all of them, however many there are."""

import threading
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from cachetools import LRUCache
from sqlalchemy import Select, case, func, select
from sqlalchemy.orm import Session, aliased

from app.store.aliases import CHALLENGER
from app.store.channels import CHAMPION
from app.store.chunks import MOST_IDS, chunked
from app.store.jobs import JobState
from app.store.tables import (
    Adapter,
    Alias,
    AliasHistory,
    Channel,
    Import,
    Release,
    Rollout,
    Tenant,
    TrainingJob,
)

MOST_SCORES = 20_000  # adapters whose scores are kept: they never change


@dataclass(frozen=True, slots=True)
class Glance:
    """A channel, and which versions answer for it; no method: the bare backbone."""

    id: str
    tenant: str
    name: str
    description: str
    modality: str
    generation: int
    created_at: datetime
    champion_version: int
    champion_adapter: str | None
    champion_method: str | None
    challenger_version: int | None
    challenger_method: str | None
    share: float | None
    shadow: bool | None


@dataclass(frozen=True, slots=True)
class LastImport:
    """The newest file of a channel."""

    kind: str
    status: str
    inserted: int
    error_count: int
    created_at: datetime


@dataclass(frozen=True, slots=True)
class LastJob:
    """The job that runs, or else the newest."""

    id: str
    state: str
    error: str | None
    created_at: datetime
    finished_at: datetime | None


@dataclass(frozen=True, slots=True)
class Scores:
    """Of an adapter and of popularity on the test split, measured when it was trained."""

    hr10: float | None
    ndcg10: float | None
    popularity_hr10: float | None
    popularity_ndcg10: float | None

    @property
    def lift(self) -> float | None:
        """By how much HR@10 is above popularity's, as a share of it."""
        return (
            self.hr10 / self.popularity_hr10 - 1 if self.hr10 is not None and self.popularity_hr10 else None
        )


def glances(s: Session, tenant_id: str | None = None, channel_id: str | None = None) -> list[Glance]:
    """Return the channels of a tenant (None: of all), or one of them, by tenant and name."""
    champion, challenger = aliased(Release), aliased(Release)
    champions, challengers = aliased(Alias), aliased(Alias)
    best, other = aliased(Adapter), aliased(Adapter)
    columns: tuple[Any, ...] = (
        Channel.id, Tenant.name, Channel.name, Channel.description, Channel.modality, Channel.generation,
        Channel.created_at, champion.version, champion.adapter_id, best.method, challenger.version,
        other.method, Rollout.share, Rollout.shadow,
    )  # fmt: skip
    query = (
        select(*columns)
        .select_from(Channel)
        .join(Tenant, Tenant.id == Channel.tenant_id)
        .join(champions, (champions.channel_id == Channel.id) & (champions.alias == CHAMPION))
        .join(champion, champion.id == champions.release_id)
        .outerjoin(best, best.id == champion.adapter_id)
        .outerjoin(challengers, (challengers.channel_id == Channel.id) & (challengers.alias == CHALLENGER))
        .outerjoin(challenger, challenger.id == challengers.release_id)
        .outerjoin(other, other.id == challenger.adapter_id)
        .outerjoin(Rollout, Rollout.channel_id == Channel.id)
        .order_by(Tenant.name, Channel.name)
    )
    if tenant_id is not None:
        query = query.where(Channel.tenant_id == tenant_id)
    if channel_id is not None:
        query = query.where(Channel.id == channel_id)
    return [Glance(*row) for row in s.execute(query).all()]


def last_imports(s: Session, channel_ids: Collection[str]) -> dict[str, LastImport]:
    """Return the newest import of each channel that has any."""
    columns = (Import.kind, Import.status, Import.inserted, Import.error_count, Import.created_at)
    found = _newest(s, Import, func.max(Import.id), columns, channel_ids)
    return {channel_id: LastImport(*rest) for channel_id, *rest in found}


def last_jobs(s: Session, channel_ids: Collection[str]) -> dict[str, LastJob]:
    """Return the job that runs, or else the newest, of each channel that has any."""
    running = func.max(case((TrainingJob.state == JobState.RUNNING, TrainingJob.id)))
    columns = (
        TrainingJob.id, TrainingJob.state, TrainingJob.error, TrainingJob.created_at, TrainingJob.finished_at
    )  # fmt: skip
    which = func.coalesce(running, func.max(TrainingJob.id))
    found = _newest(s, TrainingJob, which, columns, channel_ids)
    return {channel_id: LastJob(*rest) for channel_id, *rest in found}


def last_moves(s: Session, channel_ids: Collection[str]) -> dict[str, datetime]:
    """Return when the champion or the challenger of each channel was last moved."""
    found = _newest(s, AliasHistory, func.max(AliasHistory.id), (AliasHistory.at,), channel_ids)
    return dict(found)


def _newest(
    s: Session, table: Any, which: Any, columns: tuple[Any, ...], channel_ids: Collection[str]
) -> list[Any]:
    # Ids sort by the moment they were made in.
    found: list[Any] = []
    for chunk in chunked(channel_ids, MOST_IDS):
        ids = select(which).where(table.channel_id.in_(chunk)).group_by(table.channel_id)
        query: Select[Any] = select(table.channel_id, *columns).where(table.id.in_(ids))
        found += s.execute(query)
    return found


class KnownScores:
    """Scores by adapter. On SQLite they lie behind the weights, so each is read once."""

    def __init__(self) -> None:
        self._known: LRUCache[str, Scores] = LRUCache(MOST_SCORES)
        self._lock = threading.Lock()

    def of(self, s: Session, adapter_ids: Collection[str]) -> dict[str, Scores]:
        """Return the scores of these adapters; an uploaded one has none, but is there."""
        with self._lock:
            found = {a: self._known[a] for a in adapter_ids if a in self._known}
        new: dict[str, Scores] = {}
        for chunk in chunked(set(adapter_ids) - found.keys(), MOST_IDS):
            query = select(Adapter.id, *_SCORES).where(Adapter.id.in_(chunk))
            new |= {adapter_id: Scores(*values) for adapter_id, *values in s.execute(query)}
        with self._lock:
            self._known.update(new)
        return found | new


_SCORES = [
    Adapter.metrics[("test", who, metric)].as_float()
    for who in ("adapter", "popularity")
    for metric in ("hr10", "ndcg10")
]
