"""Counts what is answered, and how shadow answers compare; a thread adds them to the database."""

import logging
import threading
import time
from collections import defaultdict

from app.core.attribution import Variant
from app.core.errors import Unavailable
from app.store import online
from app.store.db import Database
from app.store.online import MINUTE, Compared, Given, Sums

log = logging.getLogger(__name__)
FLUSH_SECONDS = 3.0
MOST = 100_000  # counters kept while the database is away: some hours of a hundred busy channels


class Traffic:
    """Counters in memory, written every few seconds: a `kill -9` loses those seconds, a stop nothing."""

    def __init__(self, db: Database, seconds: float = FLUSH_SECONDS) -> None:
        self._db, self._seconds = db, seconds
        self._given: defaultdict[Given, int] = defaultdict(int)
        self._compared: defaultdict[Compared, Sums] = defaultdict(Sums)
        self._minutes: defaultdict[Compared, Sums] = defaultdict(Sums)  # to be logged when they are over
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="traffic", daemon=True)

    def start(self) -> None:
        """Start writing."""
        self._thread.start()

    def stop(self) -> None:
        """Write what is left, then end."""
        self._stopping.set()
        self._thread.join()
        self._flush_safely()
        self._log_minutes(before=None)

    def answered(self, channel_id: str, version: int, variant: Variant) -> None:
        """Count a recommendation."""
        with self._lock:
            self._given[channel_id, _minute(), version, variant] += 1

    def compared(self, channel_id: str, version: int, overlap: float, same_first: bool) -> None:
        """Count a shadow answer beside the one that was given."""
        sums = Sums(1, overlap, int(same_first))
        with self._lock:
            self._compared[channel_id, _minute(), version].add(sums)

    def flush(self) -> None:
        """Add the counts to the database; raises `Unavailable`, and nothing is lost."""
        with self._lock:
            given, self._given = self._given, defaultdict(int)
            compared, self._compared = self._compared, defaultdict(Sums)
        try:
            if given or compared:
                with self._db.session() as s:
                    online.add(s, given, compared)
        except BaseException:
            self._take_back(given, compared)
            raise
        for key, sums in compared.items():
            self._minutes[key].add(sums)

    def _take_back(self, given: dict[Given, int], compared: dict[Compared, Sums]) -> None:
        with self._lock:
            if len(self._given) + len(self._compared) + len(given) + len(compared) > MOST:
                log.warning("counts of %d minutes and channels are dropped", len(given) + len(compared))
                return
            for key, count in given.items():
                self._given[key] += count
            for compared_key, sums in compared.items():
                self._compared[compared_key].add(sums)

    def _run(self) -> None:
        while not self._stopping.wait(self._seconds):
            self._flush_safely()
            self._log_minutes(before=_minute())

    def _flush_safely(self) -> None:
        try:
            self.flush()
        except Unavailable as error:
            log.warning("recommendations are not counted now, but later: %s", error)
        except Exception:
            log.exception("recommendations could not be counted; trying again")

    def _log_minutes(self, before: int | None) -> None:
        """One line a channel and minute, once the minute is over."""
        for key in [key for key in self._minutes if before is None or key[1] < before]:
            sums, (channel_id, minute, version) = self._minutes.pop(key), key
            facts = {
                "channel": channel_id,
                "version": version,
                "minute": minute,
                "queries": sums.queries,
                "overlap": round(sums.overlap / sums.queries, 4),
                "same_first": round(sums.same_first / sums.queries, 4),
            }
            log.info("shadow answers compared", extra=facts)


def _minute() -> int:
    return time.time_ns() // 1_000_000 // MINUTE * MINUTE
