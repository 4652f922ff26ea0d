"""Which release answers: the alias `champion`, moved by promote and rollback, with a history."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.core.errors import Conflict
from app.core.rollout import Guard
from app.store import aliases, guards, rollouts
from app.store.aliases import ANY, Move
from app.store.channels import CHAMPION, channel_gone
from app.store.tables import AliasHistory, Release


def champion(s: Session, channel_id: str) -> Release:
    """Return the release that answers requests; raises `NotFound` when the channel is gone."""
    release = aliases.pointed_at(s, channel_id, CHAMPION)
    if release is None:
        raise channel_gone()
    return release


def promote(
    s: Session,
    channel_id: str,
    version: int,
    *,
    actor: str,
    reason: str,
    expected_current: int = ANY,
    guard: Guard | None = None,
) -> Release:
    """Make `version` the champion; a version that is champion already stays it, without a trace.

    If it was the challenger, its rollout ends. With a `guard` it is watched (`app.store.guards`). Raises
    `NotFound` for an unknown version, and `Conflict` when the champion is not `expected_current`:
    somebody else was faster.
    """
    current = aliases.lock(s, channel_id)
    aliases.check_expected(CHAMPION, current, expected_current)
    target = aliases.release_of(s, channel_id, version)
    if target.id != current.id:
        detail = {"guard": guard.model_dump()} if guard else {}
        _move(s, current, target, Move("promote", actor, reason, detail))
        if guard:
            guards.place(s, channel_id, target.version, current.version, guard, actor)
    return target


def rollback(
    s: Session,
    channel_id: str,
    *,
    actor: str,
    reason: str,
    expected_current: int = ANY,
    detail: dict[str, Any] | None = None,
) -> Release:
    """Return to the champion before the current one was promoted; again, and it goes back further.

    Versions that have been deleted are passed over. Raises `Conflict` when there is none before, or when
    the champion is not `expected_current`.
    """
    current = aliases.lock(s, channel_id)
    aliases.check_expected(CHAMPION, current, expected_current)
    version = version_before(s, channel_id, current.version)
    if version is None:
        raise Conflict("There is no earlier champion to return to. Promote a version instead.")
    target = aliases.release_of(s, channel_id, version)
    _move(s, current, target, Move("rollback", actor, reason, detail or {}))
    return target


def history(s: Session, channel_id: str) -> Sequence[AliasHistory]:
    """Return every move of the champion, oldest first."""
    return aliases.history(s, channel_id, CHAMPION)


def version_before(s: Session, channel_id: str, current: int) -> int | None:
    """Return the version that a rollback would return to, or None."""
    there = set(s.scalars(select(Release.version).where(Release.channel_id == channel_id)))
    trail = _trail(history(s, channel_id))
    return next((version for version in reversed(trail) if version in there - {current}), None)


def _trail(moves: Sequence[AliasHistory]) -> list[int]:
    # A promote puts the version that it left on the trail; a rollback takes it off again, with those that it
    # passed over.
    trail: list[int] = []
    for move in moves:
        if move.action == "rollback":
            while trail and trail.pop() != move.to_version:
                pass
        elif move.from_version is not None:
            trail.append(move.from_version)
    return trail


def _move(s: Session, current: Release, target: Release, move: Move) -> None:
    channel_id = current.channel_id
    guards.lift(s, channel_id)
    aliases.point(s, channel_id, CHAMPION, target, move)
    challenger = aliases.pointed_at(s, channel_id, aliases.CHALLENGER)
    if challenger is not None and challenger.id == target.id:
        rollouts.end(s, channel_id, Move(move.action, move.actor, move.reason))
