"""Channels: one catalogue with its interactions and adapters each."""

from collections.abc import Sequence
from typing import Final

from sqlalchemy import delete, select, update
from sqlalchemy.orm import Session

from app.core.clock import now
from app.core.errors import Conflict, Invalid, NotFound
from app.core.ids import new_id
from app.core.names import NAME_PATTERN, Modality, is_name
from app.store.db import insert_into
from app.store.tables import Alias, Channel, Release

CHAMPION: Final = "champion"
"""The alias that points at the release that answers requests."""


def create_channel(
    s: Session,
    tenant_id: str,
    name: str,
    description: str,
    backbone_fingerprint: str,
    modality: Modality = "text",
) -> Channel:
    """Create a channel whose champion is version 0, the bare backbone; its modality never changes.

    Raises `Invalid` for a bad name and `Conflict` for one that the tenant has already.
    """
    if not is_name(name):
        raise Invalid(f"A channel's name must match {NAME_PATTERN}; {name[:80]!r} does not.", field="name")
    row = {
        "id": new_id("chn"),
        "tenant_id": tenant_id,
        "name": name,
        "description": description,
        "modality": modality,
        "generation": 0,
        "next_version": 1,
        "created_at": now(),
    }
    created = insert_into(s, Channel).values(row).on_conflict_do_nothing(index_elements=["tenant_id", "name"])
    channel: Channel | None = s.scalar(select(Channel).from_statement(created.returning(Channel)))
    if channel is None:
        raise Conflict(f"There is a channel {name!r} already. Choose another name, or use that channel.")
    _point_at_backbone(s, channel.id, backbone_fingerprint)
    return channel


def channel_gone() -> NotFound:
    """The error for a channel that was there."""
    return NotFound("The channel is gone. List the channels to see those there are.")


def channel_by_id(s: Session, channel_id: str) -> Channel:
    """Return the channel; raises `NotFound` when it is gone."""
    channel = s.get(Channel, channel_id)
    if channel is None:
        raise channel_gone()
    return channel


def describe_channel(s: Session, channel_id: str, description: str) -> Channel:
    """Set a channel's description and return the channel; raises `NotFound` when it is gone."""
    changed = update(Channel).where(Channel.id == channel_id).values(description=description)
    channel: Channel | None = s.scalar(changed.returning(Channel))
    if channel is None:
        raise channel_gone()
    return channel


def delete_channel(s: Session, channel_id: str) -> None:
    """Delete a channel with all that is in it; raises `NotFound` when it is gone."""
    if s.scalar(delete(Channel).where(Channel.id == channel_id).returning(Channel.id)) is None:
        raise channel_gone()


def _point_at_backbone(s: Session, channel_id: str, fingerprint: str) -> None:
    release = Release(
        id=new_id("rel"),
        channel_id=channel_id,
        version=0,
        adapter_id=None,
        backbone_fingerprint=fingerprint,
        created_at=now(),
    )
    s.add(release)
    s.flush()
    s.add(Alias(channel_id=channel_id, alias=CHAMPION, release_id=release.id))
    s.flush()


def list_channels(s: Session, tenant_id: str) -> Sequence[Channel]:
    """Return a tenant's channels by name."""
    return s.scalars(select(Channel).where(Channel.tenant_id == tenant_id).order_by(Channel.name)).all()


def bump_generation(s: Session, channel_id: str) -> None:
    """Tell every server process that the channel's champion moved; for data see `app.store.revisions`."""
    s.execute(update(Channel).where(Channel.id == channel_id).values(generation=Channel.generation + 1))


def counters(s: Session) -> dict[str, tuple[int, int]]:
    """Return the generation and the events_revision of every channel of every tenant, by channel id."""
    rows = s.execute(select(Channel.id, Channel.generation, Channel.events_revision))
    return {channel_id: (generation, events) for channel_id, generation, events in rows}


def generations(s: Session) -> dict[str, int]:
    """Return the generation of every channel of every tenant, by channel id."""
    return dict(s.execute(select(Channel.id, Channel.generation)).all())
