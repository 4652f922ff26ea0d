"""Says in the database, every few seconds, that this worker lives and what it works on."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from sqlalchemy.orm import Session

from app.core.errors import Unavailable
from app.store import workers
from app.store.db import Database


class Presence:
    """What the worker works on, None while it waits; of several jobs it says the one that began first."""

    def __init__(self, db: Database, name: str, device: str) -> None:
        self.db, self.name, self.device = db, name, device
        self._jobs: list[str] = []
        self._end = threading.Event()

    @property
    def job_id(self) -> str | None:
        """The job that is said."""
        return next(iter(self._jobs[:1]), None)

    @contextmanager
    def at_work(self, job_id: str) -> Iterator[None]:
        """A job is worked on while the block runs."""
        self._jobs.append(job_id)
        try:
            yield
        finally:
            self._jobs.remove(job_id)

    @contextmanager
    def shown(self) -> Iterator["Presence"]:
        """Say so while the block runs; afterwards the worker is gone."""
        thread = threading.Thread(target=self._beat, daemon=True, name="presence")
        thread.start()
        try:
            yield self
        finally:
            self._end.set()
            thread.join()

    def _beat(self) -> None:
        self.say()
        while not self._end.wait(workers.BEAT_SECONDS):
            self.say()
        self._say(lambda s: workers.gone(s, self.name))

    def say(self) -> None:
        """Say it now."""
        self._say(lambda s: workers.seen(s, self.name, self.device, self.job_id))

    def _say(self, write: Callable[[Session], None]) -> None:
        # While the database is away the job's lease decides what becomes of the job.
        with suppress(Unavailable), self.db.session() as s:
            write(s)
