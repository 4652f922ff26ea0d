"""Guards: a new champion is watched for some hours, beside what was champion before it."""

from sqlalchemy import delete
from sqlalchemy.orm import Session

from app.core import rollout
from app.core.clock import now
from app.store.tables import Guard


def place(s: Session, channel_id: str, version: int, previous: int, rule: rollout.Guard, actor: str) -> Guard:
    """Watch the channel's new champion from now on."""
    guard = Guard(
        channel_id=channel_id,
        version=version,
        previous=previous,
        rule=rule.model_dump(),
        started_at=now(),
        started_by=actor,
    )
    s.add(guard)
    s.flush()
    return guard


def lift(s: Session, channel_id: str, version: int | None = None) -> None:
    """Watch no longer; with a `version` only if it is that one that is watched."""
    lifted = delete(Guard).where(Guard.channel_id == channel_id)
    s.execute(lifted if version is None else lifted.where(Guard.version == version))
