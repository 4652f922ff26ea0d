"""The one door to the model, and another to the writing of events: queries of all channels wait here, and one
thread answers them by the batch.

A batch is whatever waits when the thread is free, at most `MAX_BATCH`: alone, a query waits for nobody; under
load batches grow by themselves. Channels take turns, so one with a long queue cannot starve the others.
"""

import asyncio
import logging
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from app.core.errors import TooBusy, TransRecError

log = logging.getLogger(__name__)
MAX_BATCH = 32
Q = TypeVar("Q")
A = TypeVar("A")


@dataclass(slots=True, eq=False)
class _Waiting(Generic[Q, A]):
    query: Q
    answer: "asyncio.Future[A]"
    since: float


@dataclass(slots=True)
class Counters:
    """What the batcher has done since it was started."""

    answered: int = 0
    batches: int = 0
    refused: int = 0
    expired: int = 0
    failed: int = 0


class Batcher(Generic[Q, A]):
    """Runs `answer`, a function of many queries, in a thread of its own; an answer may be an error.

    At most `most` queries wait for `what`, at most a quarter of them of one channel, and none longer than
    `seconds`.
    """

    def __init__(
        self,
        answer: Callable[[Sequence[Q]], Sequence[A | Exception]],
        most: int,
        seconds: float,
        batch: int = MAX_BATCH,
        what: str = "the model",
    ) -> None:
        self._answer, self._most, self._seconds = answer, most, seconds
        self._batch, self._what = batch, what
        self.share = max(1, most // 4)  # of one channel
        self._queues: OrderedDict[str, deque[_Waiting[Q, A]]] = OrderedDict()
        self._waiting = 0
        self._changed = threading.Condition()
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="batcher", daemon=True)
        self.counters = Counters()

    def start(self) -> None:
        """Start answering."""
        self._thread.start()

    def stop(self) -> None:
        """Answer what waits, then end."""
        with self._changed:
            self._stopping = True
            self._changed.notify()
        self._thread.join()

    @property
    def waiting(self) -> int:
        """How many queries wait."""
        return self._waiting

    def ask(self, channel_id: str, query: Q) -> "asyncio.Future[A]":
        """Queue a query, on the event loop; raises `TooBusy` when it, or the channel's share, is full."""
        answer: asyncio.Future[A] = asyncio.get_running_loop().create_future()
        with self._changed:
            queue = self._queues.get(channel_id)
            if self._waiting >= self._most or (queue is not None and len(queue) >= self.share):
                self.counters.refused += 1
                raise TooBusy(
                    f"Too many requests wait for {self._what}. Send fewer at once, or try again shortly."
                )
            if queue is None:
                queue = self._queues[channel_id] = deque()
            queue.append(_Waiting(query, answer, time.monotonic()))
            self._waiting += 1
            if self._waiting == 1:
                self._changed.notify()
        return answer

    def _run(self) -> None:
        while batch := self._next():
            loop = batch[0].answer.get_loop()
            results = self._answer_all(batch)
            loop.call_soon_threadsafe(_deliver, results)

    def _next(self) -> list[_Waiting[Q, A]]:
        """The next batch, one query a channel in turn; empty once it is to stop and nothing waits."""
        with self._changed:
            while not self._waiting and not self._stopping:
                self._changed.wait()
            batch: list[_Waiting[Q, A]] = []
            while self._queues and len(batch) < self._batch:
                channel_id, queue = self._queues.popitem(last=False)
                batch.append(queue.popleft())
                if queue:
                    self._queues[channel_id] = queue  # to the end: the others first
            self._waiting -= len(batch)
            return batch

    def _answer_all(self, batch: list[_Waiting[Q, A]]) -> list[tuple["asyncio.Future[A]", A | Exception]]:
        oldest = time.monotonic() - self._seconds
        late = [w for w in batch if w.since < oldest]
        batch = [w for w in batch if w.since >= oldest]
        self.counters.expired += len(late)
        error = TooBusy(f"The request waited too long for {self._what}. Try again shortly.")
        answers = self._try([w.query for w in batch]) if batch else []
        self.counters.batches += bool(batch)
        self.counters.answered += len(batch)
        return [
            *((w.answer, error) for w in late),
            *((w.answer, answer) for w, answer in zip(batch, answers, strict=True)),
        ]

    def _try(self, queries: list[Q]) -> Sequence[A | Exception]:
        try:
            return self._answer(queries)
        except Exception as error:
            if len(queries) == 1:
                self.counters.failed += 1
                if not isinstance(error, TransRecError):
                    log.exception("a query failed")
                return [error]
            # One of them spoils the batch: the others must not suffer for it.
            return [answer for query in queries for answer in self._try([query])]


def _deliver(results: list[tuple["asyncio.Future[A]", A | Exception]]) -> None:
    for future, answer in results:
        if future.done():  # the client has gone
            continue
        if isinstance(answer, Exception):
            future.set_exception(answer)
        else:
            future.set_result(answer)
