"""Rules: a version whose click-through rate is lower by too much, and not by chance, is taken back."""

import math
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.core import rollout
from app.core.clock import now
from app.core.errors import Conflict, NotFound
from app.core.rollout import Rule
from app.store import guards, online, releases, rollouts
from app.store.aliases import CHALLENGER, Move
from app.store.channels import CHAMPION
from app.store.db import Database
from app.store.online import Rate
from app.store.rollouts import Challenger
from app.store.tables import Guard, Rollout

ACTOR = "rule"


@dataclass(frozen=True)
class Breach:
    """A rule that was broken: both rates, and by how many standard errors they differ."""

    ctr: float
    recommendations: int
    other_ctr: float
    other_recommendations: int
    z: float

    @property
    def reason(self) -> str:
        """For the history."""
        return (
            f"click-through rate {self.ctr:.4f} of {self.recommendations} recommendations, against "
            f"{self.other_ctr:.4f} of {self.other_recommendations} (z = {self.z:.2f})"
        )


def breach(rule: Rule, mine: Rate, other: Rate) -> Breach | None:
    """Judge `mine` beside `other`: by a two-proportion z-test with the pooled rate."""
    if min(mine.recommendations, other.recommendations) < rule.min_recommendations:
        return None
    p, q = mine.ctr or 0.0, other.ctr or 0.0
    n, m = mine.recommendations, other.recommendations
    pooled = (p * n + q * m) / (n + m)
    error = math.sqrt(pooled * (1 - pooled) * (1 / n + 1 / m))
    if not error:  # both are 0 or both are 1
        return None
    z = (q - p) / error
    return Breach(p, n, q, m, round(z, 4)) if p < q * (1 - rule.max_drop) and z > rule.z else None


def watched(s: Session) -> list[str]:
    """Return the channels that have a challenger with a rule, or a guarded champion."""
    on_trial = {row.channel_id for row in s.scalars(select(Rollout)) if row.rule}
    return sorted(on_trial | set(s.scalars(select(Guard.channel_id))))


def enforce(db: Database, channel_id: str) -> bool:
    """Take back what breaks its rule, end a guard whose time is over; returns whether anything moved."""
    try:
        on_trial = _on_trial(db, channel_id)
        return _guarded(db, channel_id) or on_trial
    except (Conflict, NotFound):  # somebody was faster
        return False


def compared_since(s: Session, found: Challenger) -> datetime:
    """Since when champion and challenger are both what they are now."""
    moves = releases.history(s, found.release.channel_id)
    return max([found.rollout.started_at, *(move.at for move in moves[-1:])])


def _on_trial(db: Database, channel_id: str) -> bool:
    with db.read() as s:
        found = rollouts.challenger(s, channel_id)
        if found is None or found.rule is None:
            return False
        champion = releases.champion(s, channel_id)
        rates = online.rates(s, channel_id, compared_since(s, found))
    mine = rates.get((found.release.version, CHALLENGER), Rate())
    broken = breach(found.rule, mine, rates.get((champion.version, CHAMPION), Rate()))
    if broken is None:
        return False
    with db.session() as s:
        move = Move("withdraw", ACTOR, broken.reason, asdict(broken))
        rollouts.withdraw(s, channel_id, move, expected_current=found.release.version)
    return True


def _guarded(db: Database, channel_id: str) -> bool:
    at = now()
    with db.read() as s:
        guard = s.get(Guard, channel_id)
        if guard is None:
            return False
        rule = rollout.Guard.model_validate(guard.rule)
        over = at - guard.started_at > timedelta(hours=rule.hours)
        broken = None if over else _guard_breach(s, guard, rule, at)
    if broken:
        with db.session() as s:
            releases.rollback(
                s,
                channel_id,
                actor=ACTOR,
                reason=broken.reason,
                expected_current=guard.version,
                detail=asdict(broken),
            )
    elif over:
        with db.session() as s:
            guards.lift(s, channel_id, guard.version)
    return broken is not None


def _guard_breach(s: Session, guard: Guard, rule: Rule, at: datetime) -> Breach | None:
    start = guard.started_at
    after = online.rates(s, guard.channel_id, start)
    before = online.rates(s, guard.channel_id, start - (at - start), start)
    mine = after.get((guard.version, CHAMPION), Rate())
    return breach(rule, mine, before.get((guard.previous, CHAMPION), Rate()))
