"""Training jobs, and the workers that run them."""

import asyncio
from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import APIRouter, Depends, Query
from fastapi.sse import EventSourceResponse, ServerSentEvent
from starlette.concurrency import run_in_threadpool

from app.api.audited import Audited
from app.api.deps import DatabaseDep, DrainDep, EngineDep, LimitsDep, Operator, Platform, WakeDep
from app.api.schemas.jobs import JobOut, NewJob, WorkerOut
from app.core.errors import NotFound, TooBusy, Unavailable
from app.core.priority import Priority
from app.model.adapters import check_fits
from app.store import jobs, workers
from app.store.db import Database
from app.store.tables import TrainingJob

router = APIRouter(prefix="/v1/admin", tags=["training jobs"], route_class=Audited)
JOBS = "/channels/{channel}/training-jobs"
MAX_STREAMS = 100  # a process; each asks the database twice a second
LOOK_SECONDS = 0.5
_streams = asyncio.Semaphore(MAX_STREAMS)


@router.post(JOBS, status_code=202, response_model=JobOut)
def create_job(
    access: Operator,
    db: DatabaseDep,
    engine: EngineDep,
    wake: WakeDep,
    limits: LimitsDep,
    body: NewJob | None = None,
) -> TrainingJob:
    """Start a training job; a worker trains, measures and, if it is good enough, promotes an adapter."""
    asked = body or NewJob()
    check_fits(asked.adapter, engine.backbones.get(access.channel.modality).model)
    with db.session() as s:
        priority = Priority[asked.priority.upper()]
        job = jobs.create_job(s, access.channel_id, asked.config(), access.actor, priority)
        limits.check(s, access.tenant_id, "jobs")
    wake.job(job.id)
    return job


@router.get(JOBS, response_model=list[JobOut])
def list_jobs(
    access: Operator,
    db: DatabaseDep,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
    before: Annotated[str | None, Query(description="A job's id: only older ones, the next page.")] = None,
) -> list[TrainingJob]:
    """List the channel's training jobs, newest first."""
    with db.read() as s:
        return list(jobs.list_jobs(s, access.channel_id, limit, before))


def _job(db: Database, channel_id: str, job_id: str) -> TrainingJob:
    with db.read() as s:
        return jobs.get_job(s, channel_id, job_id)


def _asked(job_id: str, access: Operator, db: DatabaseDep) -> TrainingJob:
    return _job(db, access.channel_id, job_id)


async def _stream() -> AsyncIterator[None]:
    if _streams.locked():
        raise TooBusy(f"{MAX_STREAMS} jobs are followed already. Ask for the job itself now and then.")
    async with _streams:
        yield


JobDep = Annotated[TrainingJob, Depends(_asked)]


@router.get(JOBS + "/{job_id}", response_model=JobOut)
async def get_job(job: JobDep) -> TrainingJob:
    """Show a training job: state, progress, result."""
    return job


@router.get(JOBS + "/{job_id}/events", response_class=EventSourceResponse, dependencies=[Depends(_stream)])
async def watch_job(job: JobDep, db: DatabaseDep, drain: DrainDep) -> AsyncIterator[ServerSentEvent]:
    """Follow a training job: an event `job` at each change, the last one when it has ended."""
    shown: JobOut | None = None
    while not drain.draining:  # then the client comes again, to a process that stays
        found = JobOut.model_validate(job)
        if found != shown:
            shown = found
            yield ServerSentEvent(event="job", data=found)
        if job.finished_at is not None:
            return
        await asyncio.sleep(LOOK_SECONDS)
        try:
            job = await run_in_threadpool(_job, db, job.channel_id, job.id)
        except Unavailable:
            continue  # the database is away: nothing new
        except NotFound:
            return  # the channel was deleted


@router.post(JOBS + "/{job_id}/cancel", status_code=202, response_model=JobOut)
def cancel_job(job_id: str, access: Operator, db: DatabaseDep) -> TrainingJob:
    """Cancel a waiting job at once, or ask the worker of a running one to stop."""
    with db.session() as s:
        return jobs.request_cancel(s, access.channel_id, job_id)


@router.get("/workers", response_model=list[WorkerOut])
def list_workers(db: DatabaseDep, _: Platform) -> list[workers.WorkerState]:
    """List the training workers of the last day, also those that died (platform operator)."""
    with db.read() as s:
        return list(workers.list_workers(s))
