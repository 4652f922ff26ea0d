"""Housekeeping: rules, retraining, retention, by one process at a time of all that serve."""

import logging
import math
import threading
import time
from collections.abc import Callable

from app.core.clock import now
from app.core.config import Settings
from app.core.errors import OverQuota, Unavailable
from app.core.ids import process_name
from app.store import audit, duties, online, policies, retention, rules, sessions
from app.store.channels import channel_by_id
from app.store.db import Database
from app.store.quotas import TenantLimits
from app.store.wake import Wake

log = logging.getLogger(__name__)
DUTY = "housekeeping"
TURN_SECONDS = 5.0
LEASE_SECONDS = 30.0  # after which another process takes over from one that died

Task = tuple[Callable[[], None], float]


class Housekeeper:
    """A thread that does what is due while this process has the duty, and else waits for it."""

    def __init__(
        self,
        db: Database,
        wake: Wake,
        settings: Settings,
        limits: TenantLimits,
        turn_seconds: float = TURN_SECONDS,
        lease_seconds: float = LEASE_SECONDS,
    ) -> None:
        self._db, self._wake, self._settings, self._limits = db, wake, settings, limits
        self._turn_seconds, self._lease_seconds = turn_seconds, lease_seconds
        self.owner = process_name()
        self._tasks: list[Task] = [
            (self.enforce_rules, 0),
            (self.train_again, 15),
            (self.drop_old_versions, 60),
            (self.prune, 3600),
        ]
        self._done: dict[Callable[[], None], float] = {}
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="housekeeper", daemon=True)

    def start(self) -> None:
        """Start."""
        self._thread.start()

    def stop(self) -> None:
        """End after the present task, and let another process take over at once."""
        self._stopping.set()
        self._thread.join()
        try:
            with self._db.session() as s:
                duties.give_back(s, DUTY, self.owner)
        except Unavailable as error:
            log.warning("the duty is left to run out: %s", error)

    def turn(self) -> bool:
        """Do what is due; returns whether this process has the duty. Raises `Unavailable`."""
        for task, seconds in self._tasks:
            if time.monotonic() - self._done.get(task, -math.inf) < seconds:
                continue
            if self._stopping.is_set() or not self._has_duty():
                return False
            self._do(task)
        return True

    def enforce_rules(self) -> None:
        """Take back what breaks its rule."""
        with self._db.read() as s:
            channel_ids = rules.watched(s)
        for channel_id in channel_ids:
            if rules.enforce(self._db, channel_id):
                log.warning("channel %s: a rule took a version back", channel_id)
                self._wake.releases(channel_id)

    def train_again(self) -> None:
        """Start the training jobs that policies ask for."""
        with self._db.read() as s:
            channel_ids = policies.with_policy(s)
        for channel_id in channel_ids:
            try:
                with self._db.session() as s:
                    job = policies.start_if_due(s, channel_id)
                    if job is not None:
                        self._limits.check(s, channel_by_id(s, channel_id).tenant_id, "jobs")
            except OverQuota as error:
                log.warning("channel %s: its policy starts no job: %s", channel_id, error)
                continue
            if job is not None:
                log.info("channel %s: its policy starts job %s", channel_id, job.id)
                self._wake.job(job.id)

    def drop_old_versions(self) -> None:
        """Delete the adapters beyond those that are kept."""
        if gone := retention.drop_old(self._db, self._settings.keep_versions):
            log.info("%d old versions were deleted", gone)

    def prune(self) -> None:
        """Delete old counts, clicks, entries of the audit, and console sessions that have ended."""
        with self._db.session() as s:
            online.prune(s, now() - online.KEPT)
            audit.prune(s, self._settings.audit_days)
            sessions.prune(s)

    def _has_duty(self) -> bool:
        with self._db.session() as s:
            return duties.take(s, DUTY, self.owner, self._lease_seconds)

    def _do(self, task: Callable[[], None]) -> None:
        try:
            task()
        except Unavailable:
            raise
        except Exception:
            log.exception("housekeeping: %s failed; trying again later", task.__name__)
        self._done[task] = time.monotonic()

    def _run(self) -> None:
        while not self._stopping.wait(self._turn_seconds):
            try:
                self.turn()
            except Unavailable as error:
                log.warning("housekeeping waits: %s", error)
            except Exception:
                log.exception("housekeeping failed; trying again")
