"""Training jobs and who works on them."""

from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, ForeignKey
from sqlalchemy.orm import Mapped, mapped_column

from app.store.tables.base import Base, channel_key


class TrainingJob(Base):
    """A training run; whoever holds the lease works on it.

    It is not tried before `not_before`, which each of its `failures` moves on.
    """

    __tablename__ = "training_jobs"
    id: Mapped[str] = mapped_column(primary_key=True)
    channel_id: Mapped[str] = mapped_column(ForeignKey("channels.id", ondelete="CASCADE"), index=True)
    state: Mapped[str] = mapped_column(index=True)
    config: Mapped[dict[str, Any]]
    progress: Mapped[dict[str, Any]]
    result: Mapped[dict[str, Any]]
    error: Mapped[str | None]
    priority: Mapped[int] = mapped_column(default=0, server_default="0")
    attempts: Mapped[int] = mapped_column(default=0)
    failures: Mapped[int] = mapped_column(default=0, server_default="0")
    not_before: Mapped[datetime | None]
    lease_owner: Mapped[str | None]
    lease_expires_at: Mapped[datetime | None]
    cancel_requested: Mapped[bool] = mapped_column(default=False)
    adapter_version: Mapped[int | None]
    created_at: Mapped[datetime]
    started_at: Mapped[datetime | None]
    finished_at: Mapped[datetime | None]
    created_by: Mapped[str]


class JobCheckpoint(Base):
    """Where a job can go on after a crash; `tensors` is safetensors."""

    __tablename__ = "job_checkpoints"
    job_id: Mapped[str] = mapped_column(ForeignKey("training_jobs.id", ondelete="CASCADE"), primary_key=True)
    step: Mapped[int]
    state: Mapped[dict[str, Any]]
    tensors: Mapped[bytes] = mapped_column(deferred=True)


class Worker(Base):
    """A training worker's process, as it last said of itself."""

    __tablename__ = "workers"
    __table_args__ = {"info": {"backup": False}}  # noqa: RUF012 - SQLAlchemy's own form
    name: Mapped[str] = mapped_column(primary_key=True)
    device: Mapped[str]
    job_id: Mapped[str | None]
    started_at: Mapped[datetime]
    seen_at: Mapped[datetime]


class TrainingPolicy(Base):
    """When a channel is trained again by itself: `config` is the job's, `interactions` those it last saw."""

    __tablename__ = "training_policies"
    channel_id: Mapped[str] = channel_key(primary_key=True)
    every_seconds: Mapped[int | None]
    after_interactions: Mapped[int | None]
    config: Mapped[dict[str, Any]]
    interactions: Mapped[int] = mapped_column(BigInteger, default=0)
    last_job_at: Mapped[datetime | None]
    updated_at: Mapped[datetime]
    updated_by: Mapped[str]
