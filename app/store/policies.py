"""Training policies: a channel is trained again every so often, or after so many interactions."""

from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.core.clock import now
from app.core.errors import NotFound
from app.core.priority import Priority
from app.store import events, jobs
from app.store.channels import channel_by_id
from app.store.jobs import OPEN
from app.store.tables import TrainingJob, TrainingPolicy

ACTOR = "policy"


def set_policy(
    s: Session,
    channel_id: str,
    *,
    every_seconds: int | None,
    after_interactions: int | None,
    config: dict[str, Any],
    actor: str,
) -> TrainingPolicy:
    """Store or replace the channel's policy; time and interactions count from now, or from its last job."""
    channel_by_id(s, channel_id)
    policy = s.get(TrainingPolicy, channel_id, with_for_update=True)
    if policy is None:
        policy = TrainingPolicy(channel_id=channel_id)
    if policy.after_interactions is None:
        policy.interactions = events.count_interactions(s, channel_id)
    policy.every_seconds, policy.after_interactions, policy.config = every_seconds, after_interactions, config
    policy.updated_at, policy.updated_by = now(), actor
    s.add(policy)
    s.flush()
    return policy


def get_policy(s: Session, channel_id: str) -> TrainingPolicy:
    """Return the channel's policy; raises `NotFound`."""
    policy = s.get(TrainingPolicy, channel_id)
    if policy is None:
        raise NotFound("The channel has no training policy. Set one with PUT .../training-policy.")
    return policy


def delete_policy(s: Session, channel_id: str) -> None:
    """Delete it; raises `NotFound`."""
    s.delete(get_policy(s, channel_id))
    s.flush()


def with_policy(s: Session) -> list[str]:
    """Return the channels that have one."""
    return list(s.scalars(select(TrainingPolicy.channel_id)))


def start_if_due(s: Session, channel_id: str) -> TrainingJob | None:
    """Create the channel's next job when its policy says so and no job waits or runs; else None."""
    # The lock makes two processes that look at once see each other's job.
    policy = s.get(TrainingPolicy, channel_id, with_for_update=True, populate_existing=True)
    if policy is None or _has_open_job(s, channel_id):
        return None
    at = now()
    interactions = policy.interactions
    if policy.after_interactions:
        interactions = events.count_interactions(s, channel_id)
        # A user whose data were deleted took interactions along.
        policy.interactions = min(policy.interactions, interactions)
    if not _is_due(policy, at, interactions):
        return None
    job = jobs.create_job(s, channel_id, dict(policy.config), ACTOR, Priority.LOW)
    policy.last_job_at, policy.interactions = at, interactions
    s.flush()
    return job


def _is_due(policy: TrainingPolicy, at: datetime, interactions: int) -> bool:
    if policy.after_interactions and interactions - policy.interactions >= policy.after_interactions:
        return True
    since = at - (policy.last_job_at or policy.updated_at)
    return policy.every_seconds is not None and since >= timedelta(seconds=policy.every_seconds)


def _has_open_job(s: Session, channel_id: str) -> bool:
    query = select(TrainingJob.id).where(TrainingJob.channel_id == channel_id, TrainingJob.state.in_(OPEN))
    return s.scalar(query.limit(1)) is not None
