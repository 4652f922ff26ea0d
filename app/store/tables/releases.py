"""Adapters, and which of them answers."""

from datetime import datetime
from typing import Any

from sqlalchemy import ForeignKey, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from app.store.tables.base import Base, Serial, channel_key


class Adapter(Base):
    """Trained weights (safetensors) of one channel; a version is never changed and never reused."""

    __tablename__ = "adapters"
    __table_args__ = (UniqueConstraint("channel_id", "version"),)
    id: Mapped[str] = mapped_column(primary_key=True)
    channel_id: Mapped[str] = channel_key()
    version: Mapped[int]
    method: Mapped[str]
    config: Mapped[dict[str, Any]]
    weights: Mapped[bytes] = mapped_column(deferred=True)
    sha256: Mapped[str]
    backbone_fingerprint: Mapped[str]
    metrics: Mapped[dict[str, Any]]
    source: Mapped[str]
    job_id: Mapped[str | None] = mapped_column(ForeignKey("training_jobs.id", ondelete="SET NULL"))
    created_at: Mapped[datetime]
    created_by: Mapped[str]


class Release(Base):
    """What an alias can point at: an adapter's version, or 0, the bare backbone."""

    __tablename__ = "releases"
    __table_args__ = (UniqueConstraint("channel_id", "version"),)
    id: Mapped[str] = mapped_column(primary_key=True)
    channel_id: Mapped[str] = channel_key()
    version: Mapped[int]
    adapter_id: Mapped[str | None] = mapped_column(ForeignKey("adapters.id", ondelete="CASCADE"))
    backbone_fingerprint: Mapped[str]
    created_at: Mapped[datetime]


class Alias(Base):
    """A name that moves between releases, such as `champion`."""

    __tablename__ = "aliases"
    channel_id: Mapped[str] = channel_key(primary_key=True)
    alias: Mapped[str] = mapped_column(primary_key=True)
    release_id: Mapped[str] = mapped_column(ForeignKey("releases.id", ondelete="CASCADE"))


class AliasHistory(Base):
    """Who moved an alias, when and why; to no version where it was taken away.

    `detail` is what belongs to the move, such as a rollout's share or a rule's figures.
    """

    __tablename__ = "alias_history"
    id: Mapped[int] = mapped_column(Serial, primary_key=True, autoincrement=True)
    channel_id: Mapped[str] = mapped_column(ForeignKey("channels.id", ondelete="CASCADE"), index=True)
    alias: Mapped[str]
    action: Mapped[str]
    from_version: Mapped[int | None]
    to_version: Mapped[int | None]
    actor: Mapped[str]
    reason: Mapped[str]
    detail: Mapped[dict[str, Any]] = mapped_column(default=dict, server_default="{}")
    at: Mapped[datetime]


class ItemVectors(Base):
    """A catalogue encoded by one adapter (`""`: zero-shot) on one backbone, kept for a fast start."""

    __tablename__ = "item_vectors"
    channel_id: Mapped[str] = channel_key(primary_key=True)
    adapter_sha256: Mapped[str] = mapped_column(primary_key=True)
    backbone_fingerprint: Mapped[str] = mapped_column(primary_key=True)
    data: Mapped[bytes] = mapped_column(deferred=True)
    created_at: Mapped[datetime]
