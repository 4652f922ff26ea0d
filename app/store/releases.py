"""Which release answers: the alias `champion`, moved by promote and rollback, with a history."""

from collections.abc import Sequence

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.core.clock import now
from app.core.errors import Conflict, NotFound
from app.store.channels import CHAMPION, bump_generation
from app.store.tables import Alias, AliasHistory, Release


def champion(s: Session, channel_id: str) -> Release:
    """Return the release that answers requests; raises `NotFound` when the channel is gone."""
    query = select(Release).join(Alias, Alias.release_id == Release.id)
    release = s.scalar(query.where(Alias.channel_id == channel_id, Alias.alias == CHAMPION))
    if release is None:
        raise NotFound("The channel is gone. List the channels to see those there are.")
    return release


def promote(
    s: Session,
    channel_id: str,
    version: int,
    *,
    actor: str,
    reason: str,
    expected_current: int | None = None,
) -> Release:
    """Make `version` the champion; a version that is champion already stays it, without a trace.

    Raises `NotFound` for an unknown version, and `Conflict` when the champion is not
    `expected_current`: somebody else was faster.
    """
    alias, current = _locked_champion(s, channel_id)
    if expected_current is not None and current.version != expected_current:
        raise Conflict(
            f"The champion is version {current.version}, not {expected_current}. Look at it and try again.",
            current=current.version,
        )
    target = _release(s, channel_id, version)
    if target.id != current.id:
        _move(s, alias, current, target, "promote", actor, reason)
    return target


def rollback(s: Session, channel_id: str, *, actor: str, reason: str) -> Release:
    """Return to the champion before the current one was promoted; again, and it goes back further.

    Raises `Conflict` when there is none before.
    """
    alias, current = _locked_champion(s, channel_id)
    trail = _trail(history(s, channel_id))
    if not trail:
        raise Conflict("There is no earlier champion to return to. Promote a version instead.")
    target = _release(s, channel_id, trail[-1])
    _move(s, alias, current, target, "rollback", actor, reason)
    return target


def history(s: Session, channel_id: str) -> Sequence[AliasHistory]:
    """Return every move of the champion, oldest first."""
    query = select(AliasHistory).where(AliasHistory.channel_id == channel_id, AliasHistory.alias == CHAMPION)
    return s.scalars(query.order_by(AliasHistory.id)).all()


def _trail(moves: Sequence[AliasHistory]) -> list[int]:
    # A promote puts the version that it left on the trail, a rollback takes it off again.
    trail: list[int] = []
    for move in moves:
        if move.action == "rollback":
            trail.pop()
        elif move.from_version is not None:
            trail.append(move.from_version)
    return trail


def _locked_champion(s: Session, channel_id: str) -> tuple[Alias, Release]:
    # The lock comes before the look: of two promotes at once the second sees what the first did.
    query = select(Alias).where(Alias.channel_id == channel_id, Alias.alias == CHAMPION)
    alias = s.scalar(query.with_for_update().execution_options(populate_existing=True))
    if alias is None:
        raise NotFound("The channel is gone. List the channels to see those there are.")
    return alias, s.get_one(Release, alias.release_id)


def _release(s: Session, channel_id: str, version: int) -> Release:
    release = s.scalar(select(Release).where(Release.channel_id == channel_id, Release.version == version))
    if release is None:
        raise NotFound(f"There is no version {version} in this channel. List the adapters to see them.")
    return release


def _move(
    s: Session, alias: Alias, current: Release, target: Release, action: str, actor: str, reason: str
) -> None:
    alias.release_id = target.id
    s.add(
        AliasHistory(
            channel_id=alias.channel_id,
            alias=alias.alias,
            action=action,
            from_version=current.version,
            to_version=target.version,
            actor=actor,
            reason=reason,
            at=now(),
        )
    )
    s.flush()
    bump_generation(s, alias.channel_id)
