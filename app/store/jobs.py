"""Training jobs: who works on which is decided here, by leases; a queue only wakes workers up."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from sqlalchemy import ColumnElement, and_, case, delete, func, or_, select, tuple_, update
from sqlalchemy.orm import Session, undefer

from app.core.clock import now
from app.core.errors import Conflict, LeaseLost, NotFound
from app.core.ids import new_id
from app.core.priority import Priority
from app.store.db import db_now
from app.store.tables import Channel, JobCheckpoint, TrainingJob


class JobState(StrEnum):
    """PENDING -> RUNNING -> one of the others; REJECTED: trained, but not good enough to publish."""

    PENDING = "PENDING"
    RUNNING = "RUNNING"
    SUCCEEDED = "SUCCEEDED"
    REJECTED = "REJECTED"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"


OPEN = (JobState.PENDING, JobState.RUNNING)
"""The states of a job that waits or runs."""


def create_job(
    s: Session, channel_id: str, config: dict[str, Any], actor: str, priority: Priority = Priority.NORMAL
) -> TrainingJob:
    """Add a job that waits for a worker."""
    job = TrainingJob(
        id=new_id("job"),
        channel_id=channel_id,
        state=JobState.PENDING,
        config=config,
        priority=priority,
        progress={},
        result={},
        created_at=now(),
        created_by=actor,
    )
    s.add(job)
    s.flush()
    return job


def get_job(s: Session, channel_id: str, job_id: str) -> TrainingJob:
    """Return a channel's job; raises `NotFound`."""
    job = s.get(TrainingJob, job_id)
    if job is None or job.channel_id != channel_id:
        raise NotFound(f"There is no training job {job_id[:80]!r} in this channel. List the jobs to find it.")
    return job


def list_jobs(
    s: Session, channel_id: str, limit: int | None = None, before: str | None = None
) -> Sequence[TrainingJob]:
    """Return a channel's jobs, newest first: those older than the job `before`; raises `NotFound`."""
    query = select(TrainingJob).where(TrainingJob.channel_id == channel_id).limit(limit)
    if before is not None:
        last = get_job(s, channel_id, before)
        place = tuple_(TrainingJob.created_at, TrainingJob.id)
        query = query.where(place < (last.created_at, last.id))
    return s.scalars(query.order_by(TrainingJob.created_at.desc(), TrainingJob.id.desc())).all()


def count_by_state(s: Session) -> dict[str, int]:
    """Return how many jobs are in each state, of all channels."""
    query = select(TrainingJob.state, func.count()).group_by(TrainingJob.state)
    return dict.fromkeys(map(str, JobState), 0) | {row[0]: row[1] for row in s.execute(query)}


def claimable(s: Session) -> list[str]:
    """Return the ids of the jobs that wait, or whose worker has gone silent, in the order to take them on.

    Tenants take turns: first the one with fewest jobs at work, of these the one whose last job began longest
    ago. Of a tenant's jobs the priority counts, then the age.
    """
    at = db_now(s)
    running = and_(TrainingJob.state == JobState.RUNNING, TrainingJob.lease_expires_at >= at)
    turns = (
        select(
            Channel.tenant_id,
            func.count(case((running, 1))).label("at_work"),
            func.max(TrainingJob.started_at).label("began"),
        )
        .join(TrainingJob, TrainingJob.channel_id == Channel.id)
        .group_by(Channel.tenant_id)
        .subquery()
    )
    query = (
        select(TrainingJob.id)
        .join(Channel, Channel.id == TrainingJob.channel_id)
        .join(turns, turns.c.tenant_id == Channel.tenant_id)
        .where(_is_claimable(at))
        .order_by(turns.c.at_work, turns.c.began.asc().nulls_first())
        .order_by(TrainingJob.priority.desc(), TrainingJob.created_at, TrainingJob.id)
    )
    return list(s.scalars(query))


def claim(s: Session, job_id: str, owner: str, lease_seconds: float) -> TrainingJob | None:
    """Take a job on for `lease_seconds`; None when it is not to be had (any more).

    It is one UPDATE with the condition in it, so of two workers one wins.
    """
    at = db_now(s)
    statement = (
        update(TrainingJob)
        .where(TrainingJob.id == job_id, _is_claimable(at))
        .values(
            state=JobState.RUNNING,
            attempts=TrainingJob.attempts + 1,
            lease_owner=owner,
            lease_expires_at=at + timedelta(seconds=lease_seconds),
            started_at=at,
        )
    )
    return s.scalar(statement.returning(TrainingJob), execution_options={"populate_existing": True})


def _is_claimable(at: datetime) -> ColumnElement[bool]:
    expired = and_(TrainingJob.state == JobState.RUNNING, TrainingJob.lease_expires_at < at)
    due = or_(TrainingJob.not_before.is_(None), TrainingJob.not_before <= at)
    return or_(and_(TrainingJob.state == JobState.PENDING, due), expired)


def _is_held(job_id: str, owner: str) -> ColumnElement[bool]:
    return and_(
        TrainingJob.id == job_id, TrainingJob.state == JobState.RUNNING, TrainingJob.lease_owner == owner
    )


def _lost(job_id: str) -> LeaseLost:
    return LeaseLost(f"Job {job_id} is no longer this worker's. Stop working on it and drop what is unsaved.")


def heartbeat(s: Session, job_id: str, owner: str, progress: dict[str, Any], lease_seconds: float) -> bool:
    """Renew the lease, store the progress and return whether somebody asked to cancel.

    Raises `LeaseLost` when another worker has the job or it has ended.
    """
    statement = (
        update(TrainingJob)
        .where(_is_held(job_id, owner))
        .values(progress=progress, lease_expires_at=db_now(s) + timedelta(seconds=lease_seconds))
    )
    cancel: bool | None = s.scalar(statement.returning(TrainingJob.cancel_requested))
    if cancel is None:
        raise _lost(job_id)
    return cancel


def retry(s: Session, job_id: str, owner: str, error: str, seconds: float) -> None:
    """Let a job that failed wait for another try, from its checkpoint, in `seconds`; raises `LeaseLost`."""
    statement = (
        update(TrainingJob)
        .where(_is_held(job_id, owner))
        .values(
            state=JobState.PENDING,
            error=error,
            failures=TrainingJob.failures + 1,
            not_before=db_now(s) + timedelta(seconds=seconds),
            lease_owner=None,
            lease_expires_at=None,
        )
    )
    if s.scalar(statement.returning(TrainingJob.id)) is None:
        raise _lost(job_id)


def finish(
    s: Session,
    job_id: str,
    owner: str,
    state: JobState,
    result: dict[str, Any] | None = None,
    error: str | None = None,
    adapter_version: int | None = None,
) -> None:
    """End a job in a final `state`, and drop its checkpoint; raises `LeaseLost`.

    In one session with `registry.register`, the adapter and the job's end land together or not at all.
    """
    if state in OPEN:
        raise ValueError(f"{state} is not a final state")
    statement = (
        update(TrainingJob)
        .where(_is_held(job_id, owner))
        .values(
            state=state,
            result=result or {},
            error=error,
            adapter_version=adapter_version,
            finished_at=now(),
            lease_owner=None,
            lease_expires_at=None,
        )
    )
    if s.scalar(statement.returning(TrainingJob.id)) is None:
        raise _lost(job_id)
    drop_checkpoint(s, job_id)


def request_cancel(s: Session, channel_id: str, job_id: str) -> TrainingJob:
    """Cancel a waiting job at once, or ask the worker of a running one to stop.

    Raises `NotFound`, and `Conflict` when the job has ended.
    """
    get_job(s, channel_id, job_id)
    ended = update(TrainingJob).where(TrainingJob.id == job_id, TrainingJob.state == JobState.PENDING)
    asked = update(TrainingJob).where(TrainingJob.id == job_id, TrainingJob.state == JobState.RUNNING)
    refresh = {"populate_existing": True}
    job: TrainingJob | None = s.scalar(
        ended.values(state=JobState.CANCELLED, cancel_requested=True, finished_at=now()).returning(
            TrainingJob
        ),
        execution_options=refresh,
    ) or s.scalar(asked.values(cancel_requested=True).returning(TrainingJob), execution_options=refresh)
    if job is None:
        raise Conflict("The job has ended, so it cannot be cancelled. Start a new one if need be.")
    return job


def save_checkpoint(
    s: Session, job_id: str, *, owner: str, step: int, state: dict[str, Any], tensors: bytes
) -> None:
    """Replace the job's checkpoint; raises `LeaseLost`, so that a stalled worker cannot overwrite it.

    `tensors` is safetensors, `state` whatever else is needed to go on.
    """
    # The row stays locked until the commit: nobody can claim the job in between.
    held = s.scalar(select(TrainingJob.id).where(_is_held(job_id, owner)).with_for_update())
    if held is None:
        raise _lost(job_id)
    drop_checkpoint(s, job_id)
    s.add(JobCheckpoint(job_id=job_id, step=step, state=state, tensors=tensors))
    s.flush()


def load_checkpoint(s: Session, job_id: str) -> JobCheckpoint | None:
    """Return the job's checkpoint with its tensors, or None."""
    return s.get(JobCheckpoint, job_id, options=[undefer(JobCheckpoint.tensors)], populate_existing=True)


def drop_checkpoint(s: Session, job_id: str) -> None:
    """Delete the job's checkpoint, if it has one."""
    s.execute(delete(JobCheckpoint).where(JobCheckpoint.job_id == job_id))
