"""Events: what waits of all requests is written in one transaction, then the old histories are dropped.

A transaction a request would be slow: on SQLite they take turns, and on PostgreSQL each waits for the disk.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress

from sqlalchemy.orm import Session

from app.core.config import Settings
from app.core.errors import Unavailable
from app.serving.batcher import Batcher
from app.serving.settle import Settler
from app.store.db import Database
from app.store.event_rows import EventRow
from app.store.event_writes import Sent, Written, write_events
from app.store.histories import Histories
from app.store.quotas import TenantLimits
from app.store.wake import Wake

REQUESTS = 64  # in one transaction, at most


class EventWriter:
    """One thread that writes; the queue before it is bounded, by channel too, and takes channels in turn."""

    def __init__(self, db: Database, histories: Histories, limits: TenantLimits, settings: Settings) -> None:
        self._db, self._histories, self._limits = db, histories, limits
        self._loop = asyncio.get_running_loop()
        self.batcher: Batcher[Sent, Written] = Batcher(
            self._write, settings.max_queue, settings.queue_seconds, REQUESTS, "the database"
        )

    async def write(self, channel_id: str, events: Sequence[EventRow], tenant_id: str = "") -> Written:
        """Store the events; when this returns, they are committed and the next answer reflects them.

        Raises `TooBusy` when the queue is full, `OverQuota`, and `Unavailable` when the database is away:
        then none is stored, unless the connection broke at the commit, which sending them again makes good.
        """
        return await self.batcher.ask(channel_id, Sent(channel_id, events, tenant_id))

    def _write(self, requests: Sequence[Sent]) -> Sequence[Written | Exception]:
        try:
            # Two replicas that get one sender's events in another order can wait for each other.
            written = self._db.attempt(lambda s: self._insert(s, requests))
        except Unavailable as error:  # no request's fault: to try each by itself would only take longer
            return [error] * len(requests)
        changed = {
            (request.channel_id, user_id)
            for request, result in zip(requests, written, strict=True)
            for user_id in result.users
        }
        if changed:
            asyncio.run_coroutine_threadsafe(self._histories.forget(changed), self._loop).result()
        return written

    def _insert(self, s: Session, requests: Sequence[Sent]) -> list[Written]:
        written = write_events(s, requests)
        for tenant_id in {request.tenant_id for request in requests}:
            self._limits.check(s, tenant_id, "interactions")
        return written


@asynccontextmanager
async def real_time(
    db: Database, histories: Histories, wake: Wake, limits: TenantLimits, settings: Settings
) -> AsyncIterator[EventWriter]:
    """Take events, hear of those of other processes and settle them, while the block runs."""
    writer = EventWriter(db, histories, limits, settings)
    writer.batcher.start()
    settler = Settler(db, histories, wake, settings)
    tasks = [asyncio.create_task(histories.listen()), asyncio.create_task(settler.run())]
    try:
        yield writer
    finally:
        await asyncio.to_thread(writer.batcher.stop)
        for task in tasks:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
