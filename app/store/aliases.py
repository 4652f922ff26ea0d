"""Aliases: names that move between a channel's releases, one move at a time, each written down."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.core.clock import now
from app.core.errors import Conflict, Invalid, NotFound
from app.store.channels import CHAMPION, bump_generation, channel_gone
from app.store.tables import Alias, AliasHistory, Release

CHALLENGER: Final = "challenger"
"""The alias of the release that is tried beside the champion; not every channel has one."""

ANY = -1
"""As an expected version: whatever it is."""


@dataclass(frozen=True)
class Move:
    """What was done, by whom and why, as the history keeps it."""

    action: str
    actor: str
    reason: str
    detail: dict[str, Any] = field(default_factory=dict)


def lock(s: Session, channel_id: str) -> Release:
    """Wait for the turn to move the channel's aliases, kept to the transaction's end; returns the champion.

    Raises `NotFound` when the channel is gone.
    """
    # The lock comes before the look: of two moves at once the second sees what the first did. Every move,
    # of whichever alias, takes the champion's row, for that one is always there.
    query = select(Alias).where(Alias.channel_id == channel_id, Alias.alias == CHAMPION)
    alias = s.scalar(query.with_for_update().execution_options(populate_existing=True))
    if alias is None:
        raise channel_gone()
    return s.get_one(Release, alias.release_id)


def pointed_at(s: Session, channel_id: str, alias: str) -> Release | None:
    """Return the release that an alias names, or None."""
    query = select(Release).join(Alias, Alias.release_id == Release.id)
    return s.scalar(query.where(Alias.channel_id == channel_id, Alias.alias == alias))


def release_of(s: Session, channel_id: str, version: int) -> Release:
    """Return a version's release; raises `NotFound`."""
    release = s.scalar(select(Release).where(Release.channel_id == channel_id, Release.version == version))
    if release is None:
        raise NotFound(f"There is no version {version} in this channel. List the adapters to see them.")
    return release


def check_fits(s: Session, channel_id: str, version: int, fingerprint: str) -> None:
    """Raise `Invalid` for a version that was trained on another backbone, `NotFound` for none."""
    release = release_of(s, channel_id, version)
    if release.adapter_id is not None and release.backbone_fingerprint != fingerprint:
        raise Invalid(
            f"Version {version} was trained on another backbone ({release.backbone_fingerprint[:12]}). "
            f"Train it again on this one ({fingerprint[:12]}), or choose another version.",
            expected=fingerprint,
        )


def check_expected(alias: str, current: Release | None, expected: int | None) -> None:
    """Raise `Conflict` where an alias is not at the version that somebody expects: another was faster."""
    version = current.version if current else None
    if expected not in (ANY, version):
        raise Conflict(
            f"The {alias} is {_shown(version)}, not {_shown(expected)}. Look at it and try again.",
            current=version,
        )


def _shown(version: int | None) -> str:
    return "none" if version is None else f"version {version}"


def point(s: Session, channel_id: str, alias: str, target: Release | None, move: Move) -> None:
    """Move an alias, or take it away; `lock` comes before. Every server process follows."""
    row = s.get(Alias, (channel_id, alias), populate_existing=True)
    current = s.get_one(Release, row.release_id) if row else None
    if row and target:
        row.release_id = target.id
    elif row:
        s.delete(row)
    elif target:
        s.add(Alias(channel_id=channel_id, alias=alias, release_id=target.id))
    s.add(
        AliasHistory(
            channel_id=channel_id,
            alias=alias,
            action=move.action,
            from_version=current.version if current else None,
            to_version=target.version if target else None,
            actor=move.actor,
            reason=move.reason,
            detail=move.detail,
            at=now(),
        )
    )
    s.flush()
    bump_generation(s, channel_id)


def history(s: Session, channel_id: str, alias: str | None = None) -> Sequence[AliasHistory]:
    """Return every move of an alias, or of all, oldest first."""
    query = select(AliasHistory).where(AliasHistory.channel_id == channel_id)
    if alias is not None:
        query = query.where(AliasHistory.alias == alias)
    return s.scalars(query.order_by(AliasHistory.id)).all()
