"""A worker's hold on one job: renewed in the background, checked at every step."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from typing import Any

from safetensors.torch import load, save
from torch import Tensor

from app.core.errors import LeaseLost, Unavailable
from app.core.ids import process_name
from app.store import jobs
from app.store.db import Database
from training.fit import FitState

FORMAT = 1  # of checkpoints; raise it when FitState or the names of its tensors change
MAX_CHECKPOINT_BYTES = 900_000_000  # SQLite's rows end at 1,000,000,000, PostgreSQL's at 1 GiB
OWNER = process_name()


class Cancelled(Exception):  # noqa: N818 - an outcome, not an error
    """Somebody asked for the job to be cancelled."""


class Stopped(Exception):  # noqa: N818 - an outcome, not an error
    """The worker is asked to end; the job goes back for another one to resume."""


class Lease:
    """Heartbeats on a thread; `check()` raises what the job's loop must know."""

    def __init__(self, db: Database, job_id: str, seconds: float, stopping: threading.Event) -> None:
        self.db, self.job_id, self.seconds, self.stopping = db, job_id, seconds, stopping
        self.progress: dict[str, Any] = {}
        self._end = threading.Event()
        self._outcome: Exception | None = None
        self._thread = threading.Thread(target=self._beat, daemon=True, name=f"lease {job_id}")

    @contextmanager
    def held(self) -> Iterator["Lease"]:
        """Renew while the block runs."""
        self._thread.start()
        try:
            yield self
        finally:
            self._end.set()
            self._thread.join()

    def check(self) -> None:
        """Raise Cancelled, LeaseLost or Stopped where one has come."""
        if self._outcome:
            raise self._outcome
        if self.stopping.is_set():
            raise Stopped

    def give_back(self) -> None:
        """Let the lease expire now, so that another worker resumes at once."""
        with self.db.session() as s:
            jobs.heartbeat(s, self.job_id, OWNER, self.progress, 0)

    def _beat(self) -> None:
        # Often enough that progress looks alive and a lease survives two lost beats.
        while not self._end.wait(min(1.0, self.seconds / 3)):
            try:
                with self.db.session() as s:
                    if jobs.heartbeat(s, self.job_id, OWNER, self.progress, self.seconds):
                        self._outcome = Cancelled()
            except Unavailable:
                continue  # the database is away: the lease decides, not this beat
            except LeaseLost as lost:
                self._outcome = lost
                return


class JobCheckpoints:
    """`fit.Checkpoints` as a row of the job: any worker on any machine can go on from it."""

    def __init__(self, db: Database, job_id: str) -> None:
        self.db, self.job_id = db, job_id

    def load(self) -> tuple[FitState, dict[str, Tensor]] | None:
        """The latest checkpoint of this job."""
        with self.db.read() as s:
            row = jobs.load_checkpoint(s, self.job_id)
            if row is None or row.state.get("format") != FORMAT:
                return None  # of another version of the code: start over
            return FitState(**row.state["fit"]), load(row.tensors)

    def save(self, state: FitState, tensors: dict[str, Tensor]) -> None:
        """One transaction: the old checkpoint stays until the new one is whole."""
        if sum(t.nbytes for t in tensors.values()) > MAX_CHECKPOINT_BYTES:
            return  # full fine-tuning of a large encoder: no database takes it as a row, so it starts over
        data, whole = save(tensors), {"format": FORMAT, "fit": asdict(state)}
        try:
            with self.db.session() as s:
                jobs.save_checkpoint(s, self.job_id, owner=OWNER, step=state.step, state=whole, tensors=data)
        except Unavailable:
            return  # training goes on; the next checkpoint replaces this one
