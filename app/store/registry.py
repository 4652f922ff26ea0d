"""Adapters: trained weights, each a version of its channel that never changes."""

import hashlib
from collections.abc import Sequence
from typing import Any

from sqlalchemy import func, select, update
from sqlalchemy.orm import Session, undefer

from app.core.clock import now
from app.core.errors import NotFound
from app.core.ids import new_id
from app.store.tables import Adapter, Channel, Release


def register(
    s: Session,
    channel_id: str,
    *,
    method: str,
    config: dict[str, Any],
    weights: bytes,
    backbone_fingerprint: str,
    metrics: dict[str, Any],
    source: str,
    actor: str,
    job_id: str | None = None,
) -> Adapter:
    """Store an adapter (`weights` is safetensors) under the channel's next version, with its release.

    `source` is "training" or "upload". Weights are taken as they are: validate them before.
    """
    adapter = Adapter(
        id=new_id("adp"),
        channel_id=channel_id,
        version=_take_version(s, channel_id),
        method=method,
        config=config,
        weights=weights,
        sha256=hashlib.sha256(weights).hexdigest(),
        backbone_fingerprint=backbone_fingerprint,
        metrics=metrics,
        source=source,
        job_id=job_id,
        created_at=now(),
        created_by=actor,
    )
    s.add(adapter)
    s.flush()
    s.add(_release(adapter))
    s.flush()
    return adapter


def _take_version(s: Session, channel_id: str) -> int:
    # The counter only goes up, so a version is never reused, not even after a delete.
    statement = (
        update(Channel)
        .where(Channel.id == channel_id)
        .values(next_version=Channel.next_version + 1)
        .returning(Channel.next_version)
    )
    following = s.scalar(statement)
    if following is None:
        raise NotFound("The channel is gone. Create it again before adding adapters.")
    return following - 1


def _release(adapter: Adapter) -> Release:
    return Release(
        id=new_id("rel"),
        channel_id=adapter.channel_id,
        version=adapter.version,
        adapter_id=adapter.id,
        backbone_fingerprint=adapter.backbone_fingerprint,
        created_at=adapter.created_at,
    )


def list_adapters(s: Session, channel_id: str) -> Sequence[Adapter]:
    """Return a channel's adapters without their weights, newest version first."""
    return s.scalars(
        select(Adapter).where(Adapter.channel_id == channel_id).order_by(Adapter.version.desc())
    ).all()


def sizes(s: Session, channel_id: str) -> dict[int, int]:
    """Return the bytes of each version's weights, which are not read for it."""
    query = select(Adapter.version, func.length(Adapter.weights)).where(Adapter.channel_id == channel_id)
    return {row[0]: row[1] for row in s.execute(query)}


def get_adapter(s: Session, channel_id: str, version: int, with_weights: bool = False) -> Adapter:
    """Return one adapter; its weights can be read only if asked for. Raises `NotFound`."""
    query = select(Adapter).where(Adapter.channel_id == channel_id, Adapter.version == version)
    if with_weights:
        query = query.options(undefer(Adapter.weights)).execution_options(populate_existing=True)
    adapter = s.scalar(query)
    if adapter is None:
        raise NotFound(
            f"There is no adapter version {version} in this channel. List the adapters to see them."
        )
    return adapter
