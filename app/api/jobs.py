"""Training jobs."""

from fastapi import APIRouter

from app.api.deps import DatabaseDep, EngineDep, Operator, WakeDep
from app.api.schemas import JobOut, NewJob
from app.model.adapters import check_fits
from app.store import jobs
from app.store.tables import TrainingJob

router = APIRouter(prefix="/v1/admin/channels/{channel}/training-jobs", tags=["training jobs"])


@router.post("", status_code=202, response_model=JobOut)
def create_job(
    access: Operator, db: DatabaseDep, engine: EngineDep, wake: WakeDep, body: NewJob | None = None
) -> TrainingJob:
    """Start a training job; a worker trains, measures and, if it is good enough, promotes an adapter."""
    asked = body or NewJob()
    check_fits(asked.adapter, engine.backbones.get(access.channel.modality).model)
    with db.session() as s:
        job = jobs.create_job(s, access.channel_id, asked.config(), access.actor)
    wake.job(job.id)
    return job


@router.get("", response_model=list[JobOut])
def list_jobs(access: Operator, db: DatabaseDep) -> list[TrainingJob]:
    """List the channel's training jobs, newest first."""
    with db.read() as s:
        return list(jobs.list_jobs(s, access.channel_id))


@router.get("/{job_id}", response_model=JobOut)
def get_job(job_id: str, access: Operator, db: DatabaseDep) -> TrainingJob:
    """Show a training job: state, progress, result."""
    with db.read() as s:
        return jobs.get_job(s, access.channel_id, job_id)


@router.post("/{job_id}/cancel", status_code=202, response_model=JobOut)
def cancel_job(job_id: str, access: Operator, db: DatabaseDep) -> TrainingJob:
    """Cancel a waiting job at once, or ask the worker of a running one to stop."""
    with db.session() as s:
        return jobs.request_cancel(s, access.channel_id, job_id)
