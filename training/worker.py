"""The training worker: a process of its own that takes jobs from RQ, and from the rows nobody took.

The row is the truth, the message in Redis only says "now". A job whose message was lost, or whose worker
was killed, is found by its row as soon as its lease has run out, and goes on from its last checkpoint.
"""

import logging
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
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
from app.store.tables import TrainingJob
from app.store.wake import Wake
from training.finetune import TrainingConfig
from training.job import work_on
from training.lease import OWNER, Cancelled, Lease, Stopped
from training.presence import Presence

log = logging.getLogger(__name__)
STOPPING = threading.Event()
MAX_ATTEMPTS = 10  # a job that kills its workers must not keep them for ever
MAX_RETRIES = 3  # of a job that fails in an unexpected way


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


@lru_cache(maxsize=1)
def presence() -> Presence:
    """What this process says of itself."""
    return Presence(database(), OWNER, str(pick_device(get_settings().device)))


def run_job(_job_id: str) -> None:
    """What a message from RQ calls. It only says that there is work: the rows say which comes first."""
    run_waiting()


def run_waiting() -> None:
    """Run one job after the other, until none waits or the worker is to stop."""
    while not STOPPING.is_set():
        job = _claim()
        if job is None:
            return
        with presence().at_work(job.id):
            _run(job)


def _claim() -> TrainingJob | None:
    """The next job, now this worker's; another worker may be faster, then it is the one after it."""
    db, settings = database(), get_settings()
    while True:
        with db.read() as s:
            waiting = jobs.claimable(s)
        if not waiting:
            return None
        with db.session() as s:
            job = jobs.claim(s, waiting[0], OWNER, settings.lease_seconds)
        if job is not None:
            how = "claimed" if job.attempts == 1 else f"taken on again (attempt {job.attempts})"
            log.info("job %s: %s by %s", job.id, how, OWNER)
            return job


def _run(job: TrainingJob) -> None:
    """See a claimed job to its end."""
    db, job_id = database(), job.id
    if job.attempts > MAX_ATTEMPTS:
        reason = f"Its worker ended {MAX_ATTEMPTS} times before it did; see the workers' logs. Ask for less."
        _end(db, job_id, JobState.FAILED, reason)
        return
    lease = Lease(db, job_id, get_settings().lease_seconds, STOPPING)
    with lease.held():
        try:
            config = TrainingConfig.model_validate(job.config)
            promoted = work_on(db, backbones(), lease, job.channel_id, config)
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
            _try_again(db, job, f"Unexpected {type(error).__name__}; see the worker's log.")
        else:
            if promoted:
                wake().releases(job.channel_id)


def _try_again(db: Database, job: TrainingJob, error: str) -> None:
    """After a while that doubles each time: what is unexpected, such as a full device, may pass."""
    if job.failures >= MAX_RETRIES:
        _end(db, job.id, JobState.FAILED, error)
        return
    seconds = get_settings().retry_seconds * 2**job.failures
    with db.session() as s:
        jobs.retry(s, job.id, OWNER, error, seconds)
    log.info("job %s: tried again in %.0f s, %s", job.id, seconds, error)


def _end(db: Database, job_id: str, state: JobState, error: str) -> None:
    with db.session() as s:
        jobs.finish(s, job_id, OWNER, state, error=error)
    log.info("job %s: %s, %s", job_id, state, error)


class QuietWorker(SimpleWorker):
    """RQ's in-process worker; signals are ours, so that a stop is a checkpoint and not a wait."""

    def _install_signal_handlers(self) -> None:
        """Leave them to `main`."""


def drain_queue() -> None:
    """Follow the messages that Redis has; nothing when Redis is away."""
    try:
        queue = Queue(QUEUE_TRAINING, connection=wake().client, serializer=JSONSerializer)
        waiting = queue.count
        wake().back()
        if waiting:
            worker = QuietWorker([queue], connection=wake().client, serializer=JSONSerializer)
            worker.work(burst=True, logging_level="WARNING")
    except redis.RedisError as error:
        wake().away(error)


def work_once() -> None:
    """One look at the queue and at the rows."""
    drain_queue()
    _look()  # for what no message brought: Redis lost it, or its worker went silent


def _look() -> None:
    try:
        run_waiting()
    except Unavailable as error:
        log.warning("the database is away: %s", error)


@contextmanager
def beside(more: int) -> Iterator[None]:
    """While the block runs, so many threads take on jobs too; their models share one backbone's tensors."""

    def work() -> None:
        while not STOPPING.is_set():
            _look()
            STOPPING.wait(get_settings().poll_seconds)

    threads = [threading.Thread(target=work, name=f"jobs {n}") for n in range(more)]
    for thread in threads:
        thread.start()
    yield
    for thread in threads:
        thread.join()


def main() -> None:
    """Work until SIGTERM or SIGINT; the running job is checkpointed and given back."""
    settings = get_settings()
    logs.configure(settings.log_level)
    stop: Any = lambda *_: STOPPING.set()  # noqa: E731
    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    database().migrate()
    log.info("worker %s waits for jobs", OWNER)
    if settings.worker_jobs > 1:
        backbones()  # once, before there are threads that would each load it
    with presence().shown(), beside(settings.worker_jobs - 1):
        while not STOPPING.is_set():
            work_once()
            STOPPING.wait(settings.poll_seconds)


if __name__ == "__main__":
    # RQ imports this module by name: `main` must share its STOPPING with that copy, not with __main__.
    from training import worker

    worker.main()
