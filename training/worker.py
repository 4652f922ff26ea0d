"""The training worker: a process of its own that takes jobs from RQ, and from the rows nobody took.

The row is the truth, the message in Redis only says "now". A job whose message was lost, or whose worker
was killed, is found by its row as soon as its lease has run out, and goes on from its last checkpoint.
"""

import logging
import signal
import threading
from functools import lru_cache
from typing import Any

import redis
from pydantic import ValidationError
from rq import Queue, SimpleWorker
from rq.serializers import JSONSerializer

from app.core import log as logs
from app.core.config import get_settings
from app.core.errors import LeaseLost, TransRecError, Unavailable
from app.core.names import QUEUE_TRAINING
from app.core.valkey import redis_url
from app.model.backbone import Backbones, load_backbones
from app.model.device import pick_device
from app.store import jobs
from app.store.db import Database
from app.store.jobs import JobState
from app.store.wake import Wake
from training.finetune import TrainingConfig
from training.job import work_on
from training.lease import OWNER, Cancelled, Lease, Stopped

log = logging.getLogger(__name__)
STOPPING = threading.Event()
MAX_ATTEMPTS = 10  # a job that kills its workers must not keep them for ever


@lru_cache(maxsize=1)
def backbones() -> Backbones:
    """Loaded at the first job and kept: every job of this process shares them."""
    settings = get_settings()
    return load_backbones(settings.backbone, settings.image_backbone, pick_device(settings.device))


@lru_cache(maxsize=1)
def database() -> Database:
    """This process's connection pool."""
    return Database(get_settings().resolved_database_url)


@lru_cache(maxsize=1)
def wake() -> Wake:
    """This process's Redis."""
    return Wake(redis_url(get_settings()))


def run_job(job_id: str) -> None:
    """Claim the job and see it to its end; does nothing when another worker has it or it has ended."""
    db, settings = database(), get_settings()
    with db.session() as s:
        job = jobs.claim(s, job_id, OWNER, settings.lease_seconds)
        if job is None:
            return
        channel_id, asked, attempts = job.channel_id, dict(job.config), job.attempts
    log.info("job %s: claimed by %s", job_id, OWNER)
    if attempts > MAX_ATTEMPTS:
        reason = f"Its worker ended {MAX_ATTEMPTS} times before it did; see the workers' logs. Ask for less."
        _end(db, job_id, JobState.FAILED, reason)
        return
    lease = Lease(db, job_id, settings.lease_seconds, STOPPING)
    with lease.held():
        try:
            promoted = work_on(db, backbones(), lease, channel_id, TrainingConfig.model_validate(asked))
        except Cancelled:
            _end(db, job_id, JobState.CANCELLED, "cancelled on request")
        except Stopped:
            lease.give_back()
        except (LeaseLost, Unavailable) as error:
            log.warning("job %s: left to the next worker: %s", job_id, error)
        except (TransRecError, ValidationError) as error:
            _end(db, job_id, JobState.FAILED, str(error))
        except Exception as error:
            log.exception("job %s failed", job_id)
            _end(db, job_id, JobState.FAILED, f"Unexpected {type(error).__name__}; see the worker's log.")
        else:
            if promoted:
                wake().releases(channel_id)


def _end(db: Database, job_id: str, state: JobState, error: str) -> None:
    with db.session() as s:
        jobs.finish(s, job_id, OWNER, state, error=error)
    log.info("job %s: %s, %s", job_id, state, error)


class QuietWorker(SimpleWorker):
    """RQ's in-process worker; signals are ours, so that a stop is a checkpoint and not a wait."""

    def _install_signal_handlers(self) -> None:
        """Leave them to `main`."""


def drain_queue() -> None:
    """Run what Redis has queued; nothing when Redis is away."""
    try:
        queue = Queue(QUEUE_TRAINING, connection=wake().client, serializer=JSONSerializer)
        waiting = queue.count
        wake().back()
        if waiting:
            worker = QuietWorker([queue], connection=wake().client, serializer=JSONSerializer)
            worker.work(burst=True, logging_level="WARNING")
    except redis.RedisError as error:
        wake().away(error)


def sweep() -> None:
    """Run the jobs that no message brought: Redis lost them, or their worker went silent."""
    with database().read() as s:
        waiting = jobs.claimable(s)
    for job_id in waiting:
        if not STOPPING.is_set():
            run_job(job_id)


def work_once() -> None:
    """One look at the queue and at the rows."""
    drain_queue()
    try:
        sweep()
    except Unavailable as error:
        log.warning("the database is away: %s", error)


def main() -> None:
    """Work until SIGTERM or SIGINT; the running job is checkpointed and given back."""
    settings = get_settings()
    logs.configure(settings.log_level)
    stop: Any = lambda *_: STOPPING.set()  # noqa: E731
    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    database().migrate()
    log.info("worker %s waits for jobs", OWNER)
    while not STOPPING.is_set():
        work_once()
        STOPPING.wait(settings.poll_seconds)


if __name__ == "__main__":
    # RQ imports this module by name: `main` must share its STOPPING with that copy, not with __main__.
    from training import worker

    worker.main()
