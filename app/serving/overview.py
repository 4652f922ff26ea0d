"""Channels as operators see them: what is stored, what this process answers with, whether all is well."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal

from app.core.clock import now
from app.core.names import Sort
from app.serving.engine import Engine
from app.serving.release import ZERO_SHOT
from app.store import online
from app.store.db import Database
from app.store.jobs import OPEN
from app.store.online import Rate
from app.store.overview import (
    Glance,
    KnownScores,
    LastImport,
    LastJob,
    Scores,
    glances,
    last_imports,
    last_jobs,
    last_moves,
)
from app.store.tallies import Tallies, Tally

Health = Literal["failed", "behind", "training", "empty", "ok"]
HEALTHS: tuple[Health, ...] = ("failed", "behind", "training", "empty", "ok")
"""The worst first."""

HOURS = 24


@dataclass(frozen=True, slots=True)
class Now:
    """What this process answers with; `generation` is None while nothing is loaded."""

    generation: int | None
    behind: bool
    failure: str | None


@dataclass(frozen=True, slots=True)
class State:
    """A channel's state."""

    glance: Glance
    tally: Tally
    scores: Scores | None
    recommendations: int  # of the last hour
    last_import: LastImport | None
    job: LastJob | None
    changed_at: datetime
    serving: Now
    health: Health
    reason: str

    @property
    def champion_method(self) -> str:
        """Of the champion's adapter."""
        return self.glance.champion_method or ZERO_SHOT


@dataclass(frozen=True, slots=True)
class Traffic:
    """What a channel answered in the last 24 hours, hour by hour, oldest first."""

    total: Rate
    hourly: list[int]


class Overview:
    """Asks for all channels at once; what does not change is asked for once."""

    def __init__(self, db: Database, engine: Engine) -> None:
        self._db, self._engine = db, engine
        self.tallies, self._scores = Tallies(), KnownScores()

    def states(self, tenant_id: str | None = None, channel_id: str | None = None) -> list[State]:
        """Return the channels of a tenant (None: of all), or one of them, by tenant and name."""
        # Looked at before the database: a release that comes meanwhile is newer than what is read.
        at = now()
        with self._db.read() as s:
            found = glances(s, tenant_id, channel_id)
            ids = [glance.id for glance in found]
            tallies = self.tallies.of(s, ids)
            scores = self._scores.of(s, [g.champion_adapter for g in found if g.champion_adapter])
            given = online.recommended(s, ids, at - timedelta(hours=1))
            imports, jobs, moves = last_imports(s, ids), last_jobs(s, ids), last_moves(s, ids)
        return [
            self._state(
                g,
                tallies[g.id],
                scores.get(g.champion_adapter or ""),
                given.get(g.id, 0),
                imports.get(g.id),
                jobs.get(g.id),
                moves.get(g.id),
            )
            for g in found
        ]

    def traffic(self, channel_ids: Sequence[str]) -> dict[str, Traffic]:
        """Return the traffic of channels that are shown: of a page, not of all."""
        at = now()
        with self._db.read() as s:
            given = online.hourly(s, channel_ids, at, HOURS)
            clicked = online.clicked(s, channel_ids, at, HOURS)
        nothing = [0] * HOURS
        found = {}
        for channel_id in channel_ids:
            variants = [given.get((channel_id, variant), nothing) for variant in ("champion", "challenger")]
            hours = [sum(hour) for hour in zip(*variants, strict=True)]
            found[channel_id] = Traffic(Rate(sum(hours), clicked.get(channel_id, 0)), hours)
        return found

    def _state(
        self,
        glance: Glance,
        tally: Tally,
        scores: Scores | None,
        recommendations: int,
        last_import: LastImport | None,
        job: LastJob | None,
        moved_at: datetime | None,
    ) -> State:
        serving = self._now(glance)
        health, reason = health_of(tally, serving, job)
        moments = (
            glance.created_at,
            moved_at,
            last_import and last_import.created_at,
            job and (job.finished_at or job.created_at),
        )
        return State(
            glance, tally, scores, recommendations, last_import, job, max(m for m in moments if m), serving,
            health, reason,
        )  # fmt: skip

    def _now(self, glance: Glance) -> Now:
        release, failure = self._engine.live.get(glance.id), self._engine.failures.get(glance.id)
        generation = release.generation if release else None
        # A release that came after the look at the database is newer than what was seen there.
        behind = generation is None or generation < glance.generation
        return Now(generation, behind, failure.reason if failure else None)


def health_of(tally: Tally, serving: Now, job: LastJob | None) -> tuple[Health, str]:
    """Say in a word how a channel is, and why; the worst that is so counts."""
    if serving.failure:
        return "failed", f"Its newest release could not be built: {serving.failure}"
    if job and job.state == "FAILED":
        return "failed", f"Its last training job failed: {job.error or 'see its log'}"
    if not tally.items:
        return "empty", "It has no items yet. Import some."
    if serving.behind:
        return "behind", "A change is being built; it answers with what was before." if (
            serving.generation is not None
        ) else "Its release is being built; it does not answer yet."
    if job and job.state in OPEN:
        return "training", "A training job runs." if job.state == "RUNNING" else "A training job waits."
    return "ok", "Its newest release answers."


_KEYS: dict[str, Callable[[State], Any]] = {
    "name": lambda state: (state.glance.tenant, state.glance.name),
    "health": lambda state: HEALTHS.index(state.health),
    "items": lambda state: state.tally.items,
    "interactions": lambda state: state.tally.interactions,
    "hr10": lambda state: state.scores and state.scores.hr10,
    "lift": lambda state: state.scores and state.scores.lift,
    "recommendations": lambda state: state.recommendations,
    "changed": lambda state: state.changed_at,
}


def in_order(states: Sequence[State], sort: Sort) -> list[State]:
    """Return the states by a key, `-`: the largest first; what has no value comes last, either way."""
    key = _KEYS[sort.removeprefix("-")]
    with_value = [state for state in states if key(state) is not None]
    # Sorting is stable: what is equal stays by tenant and name.
    with_value.sort(key=key, reverse=sort.startswith("-"))
    return with_value + [state for state in states if key(state) is None]


def matching(states: Sequence[State], search: str) -> list[State]:
    """Return those with each of the words in the name of the channel, its tenant, its method or health."""
    words = search.lower().split()
    return [state for state in states if all(word in _text(state) for word in words)]


def _text(state: State) -> str:
    g = state.glance
    return f"{g.tenant} {g.name} {g.description} {state.champion_method} {state.health}".lower()
