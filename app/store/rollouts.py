"""Rollouts: the alias `challenger`, and how the release that it names is tried beside the champion."""

from dataclasses import dataclass

from sqlalchemy.orm import Session

from app.core.clock import now
from app.core.errors import Conflict, NotFound
from app.core.rollout import Plan, Rule
from app.store import aliases
from app.store.aliases import ANY, CHALLENGER, Move
from app.store.channels import CHAMPION
from app.store.tables import Release, Rollout


@dataclass(frozen=True)
class Challenger:
    """A release on trial, and how it is tried."""

    release: Release
    rollout: Rollout

    @property
    def rule(self) -> Rule | None:
        """What takes it back by itself, if anything."""
        return Rule.model_validate(self.rollout.rule) if self.rollout.rule else None


def challenger(s: Session, channel_id: str) -> Challenger | None:
    """Return the channel's challenger, or None."""
    release = aliases.pointed_at(s, channel_id, CHALLENGER)
    rollout = s.get(Rollout, channel_id, populate_existing=True)
    return Challenger(release, rollout) if release and rollout else None


def the_challenger(s: Session, channel_id: str) -> Challenger:
    """Return the channel's challenger; raises `NotFound`."""
    found = challenger(s, channel_id)
    if found is None:
        raise NotFound("The channel has no challenger. Set one with PUT .../releases/challenger.")
    return found


def set_challenger(
    s: Session,
    channel_id: str,
    version: int,
    plan: Plan,
    *,
    actor: str,
    reason: str,
    expected_current: int | None = ANY,
) -> Challenger:
    """Make `version` the challenger, or change how it is tried: the trial then goes on from when it began.

    `expected_current` is the challenger's version, None for none yet. Raises `NotFound` for an unknown
    version, and `Conflict` for the champion or when the challenger is not the expected one.
    """
    champion = aliases.lock(s, channel_id)
    current = aliases.pointed_at(s, channel_id, CHALLENGER)
    aliases.check_expected(CHALLENGER, current, expected_current)
    target = aliases.release_of(s, channel_id, version)
    if target.id == champion.id:
        raise Conflict(f"Version {version} is the {CHAMPION}. Choose another version as the challenger.")
    rollout = s.get(Rollout, channel_id, populate_existing=True)
    if rollout is None:
        rollout = Rollout(channel_id=channel_id)
        s.add(rollout)
    if current is None or current.id != target.id:
        rollout.started_at, rollout.started_by = now(), actor
    rollout.share, rollout.shadow = plan.share, plan.shadow
    rollout.rule = plan.rule.model_dump() if plan.rule else {}
    action = "change" if current and current.id == target.id else "challenge"
    aliases.point(s, channel_id, CHALLENGER, target, Move(action, actor, reason, plan.model_dump()))
    return Challenger(target, rollout)


def withdraw(s: Session, channel_id: str, move: Move, expected_current: int = ANY) -> None:
    """Take the challenger back; raises `NotFound` without one, `Conflict` for another than the expected."""
    aliases.lock(s, channel_id)
    found = the_challenger(s, channel_id)
    aliases.check_expected(CHALLENGER, found.release, expected_current)
    end(s, channel_id, move)


def end(s: Session, channel_id: str, move: Move) -> None:
    """End the rollout; `lock` comes before."""
    if rollout := s.get(Rollout, channel_id, populate_existing=True):
        s.delete(rollout)
    aliases.point(s, channel_id, CHALLENGER, None, move)
