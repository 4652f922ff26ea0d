"""The settler: events become part of popularity, and what no message said is made good.

It is no part of the swapper's look: it writes, and behind a long import into SQLite it would hold up swaps.
"""

import asyncio
import logging
from datetime import timedelta

from app.core.clock import now
from app.core.config import Settings
from app.core.errors import Unavailable
from app.store import revisions
from app.store.db import Database
from app.store.histories import Histories
from app.store.wake import Wake

log = logging.getLogger(__name__)


class Settler:
    """Looks every `poll_seconds` whether a channel's events are to be settled."""

    def __init__(self, db: Database, histories: Histories, wake: Wake, settings: Settings) -> None:
        self._db, self._histories, self._wake = db, histories, wake
        self._poll = settings.poll_seconds
        self._rest = timedelta(seconds=settings.events_settle_seconds)

    async def run(self) -> None:
        """Look until it is cancelled."""
        while True:
            try:
                await self.look()
            except Unavailable as error:
                log.warning("the database is away, events are settled later: %s", error)
            except Exception:
                log.exception("settling events failed; trying again at the next poll")
            await asyncio.sleep(self._poll)

    async def look(self) -> None:
        """Settle what is due; raise the revisions of channels with events of which Redis could not be told.

        After a time without messages all channels with events are due: those of other processes may have been
        missed, and a Redis that was restarted may have copies again that it had dropped.

        Raises `Unavailable`.
        """
        unheard, missed = self._histories.take_unheard()
        try:
            raised = await asyncio.to_thread(self._settle, unheard, missed)
        except BaseException:
            self._histories.give_back(unheard, missed)
            raise
        self._histories.believe(raised)

    def _settle(self, unheard: set[str], missed: bool) -> dict[str, int]:
        before = None if missed else now() - self._rest
        with self._db.read() as s:
            is_due = revisions.is_settling_due(s, before)
        if not unheard and not is_due:
            return {}
        with self._db.session() as s:
            raised = revisions.raise_histories(s, unheard)
            revisions.settle(s, before)
        self._wake.look()
        return raised
