"""Training workers: which there are, what they do, and whether they live."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import delete, func, select
from sqlalchemy.orm import Session

from app.store.db import db_now, insert_into
from app.store.tables import Worker

BEAT_SECONDS = 5.0
"""So often a worker says that it lives."""

LATE = timedelta(seconds=4 * BEAT_SECONDS)  # silent for so long, a worker counts as dead
FORGOTTEN = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class WorkerState:
    """A worker as it last said of itself, and whether it still says anything."""

    name: str
    device: str
    job_id: str | None
    started_at: datetime
    seen_at: datetime
    alive: bool


def seen(s: Session, name: str, device: str, job_id: str | None) -> None:
    """Write down that a worker lives, and what it works on."""
    at = db_now(s)
    row = {"name": name, "device": device, "job_id": job_id, "started_at": at, "seen_at": at}
    insert = insert_into(s, Worker).values(row)
    changes = {key: row[key] for key in ("device", "job_id", "seen_at")}
    s.execute(insert.on_conflict_do_update(index_elements=["name"], set_=changes))
    s.execute(delete(Worker).where(Worker.seen_at < at - FORGOTTEN))


def gone(s: Session, name: str) -> None:
    """Forget a worker that ends in order."""
    s.execute(delete(Worker).where(Worker.name == name))


def list_workers(s: Session) -> Sequence[WorkerState]:
    """Return the workers of the last day by name; one that ended in order is not among them."""
    latest = db_now(s) - LATE
    rows = s.scalars(select(Worker).order_by(Worker.name))
    return [
        WorkerState(row.name, row.device, row.job_id, row.started_at, row.seen_at, row.seen_at >= latest)
        for row in rows
    ]


def count_alive(s: Session) -> int:
    """Return how many workers live."""
    return s.scalar(select(func.count()).select_from(Worker).where(Worker.seen_at >= db_now(s) - LATE)) or 0
