"""Training policies: when a channel is trained again by itself."""

from fastapi import APIRouter

from app.api.audited import Audited
from app.api.deps import DatabaseDep, EngineDep, Operator
from app.api.schemas.rollouts import NewPolicy, PolicyOut
from app.model.adapters import check_fits
from app.store import policies
from app.store.tables import TrainingPolicy

router = APIRouter(
    prefix="/v1/admin/channels/{channel}/training-policy", tags=["training jobs"], route_class=Audited
)
_HOUR = 3600


@router.put("")
def set_policy(body: NewPolicy, access: Operator, db: DatabaseDep, engine: EngineDep) -> PolicyOut:
    """Train the channel again every so often, after so many new interactions, or both."""
    check_fits(body.job.adapter, engine.backbones.get(access.channel.modality).model)
    seconds = None if body.every_hours is None else round(body.every_hours * _HOUR)
    with db.session() as s:
        policy = policies.set_policy(
            s,
            access.channel_id,
            every_seconds=seconds,
            after_interactions=body.after_interactions,
            config=body.job.config(),
            actor=access.actor,
        )
    return _shown(policy)


@router.get("")
def get_policy(access: Operator, db: DatabaseDep) -> PolicyOut:
    """Show when the channel is trained again."""
    with db.read() as s:
        return _shown(policies.get_policy(s, access.channel_id))


@router.delete("", status_code=204)
def delete_policy(access: Operator, db: DatabaseDep) -> None:
    """Train it by hand only; a job that waits or runs goes on."""
    with db.session() as s:
        policies.delete_policy(s, access.channel_id)


def _shown(policy: TrainingPolicy) -> PolicyOut:
    return PolicyOut(
        every_hours=None if policy.every_seconds is None else policy.every_seconds / _HOUR,
        after_interactions=policy.after_interactions,
        job=policy.config,
        interactions=policy.interactions,
        last_job_at=policy.last_job_at,
        updated_at=policy.updated_at,
        updated_by=policy.updated_by,
    )
