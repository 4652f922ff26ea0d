"""Says in the database, every few seconds, that this worker lives and what it works on."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from sqlalchemy.orm import Session

from app.core.errors import Unavailable
from app.store import workers
from app.store.db import Database


class Presence:
    """`job_id` is what the worker works on, None while it waits."""

    def __init__(self, db: Database, name: str, device: str) -> None:
        self.db, self.name, self.device = db, name, device
        self.job_id: str | None = None
        self._end = threading.Event()

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
