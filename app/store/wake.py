"""Wake-ups through Redis. The rows are the truth: without Redis all still happens, at the next poll."""

import logging
import time
from collections.abc import Callable, Iterator

import redis
from rq import Queue
from rq.serializers import JSONSerializer

from app.core.names import QUEUE_TRAINING, WAKE_RELEASES

log = logging.getLogger(__name__)
PATIENCE = 2.0  # seconds that a write, which is done by then, waits for Redis
AROUND_SECONDS = 5.0  # once it was away, nobody tells it anything for so long
RUN_JOB = "training.worker.run_job"  # by name: the service never imports training


class Wake:
    """Tells other processes that rows have changed; never raises for a Redis that is away."""

    def __init__(self, url: str) -> None:
        self.client = redis.Redis.from_url(url, socket_connect_timeout=PATIENCE, socket_timeout=PATIENCE)
        self._around_until = 0.0  # 0 while Redis is there

    def ping(self) -> bool:
        """Whether Redis answers."""
        try:
            return bool(self.client.ping())
        except redis.RedisError:
            return False

    def away(self, error: redis.RedisError) -> None:
        """Say once that Redis has gone, not at every poll."""
        if not self._around_until:
            log.warning("Redis is away (%s): going on by polling the database", type(error).__name__)
        self._around_until = time.monotonic() + AROUND_SECONDS

    def back(self) -> None:
        """Say once that Redis answers again."""
        if self._around_until:
            log.warning("Redis is back")
        self._around_until = 0.0

    def job(self, job_id: str) -> bool:
        """Queue a training job for the workers; JSON, so that no pickle is ever read."""

        def enqueue() -> None:
            queue = Queue(QUEUE_TRAINING, connection=self.client, serializer=JSONSerializer)
            queue.enqueue(RUN_JOB, job_id, job_timeout=-1, result_ttl=0, failure_ttl=0)

        return self._tell(enqueue)

    def releases(self, channel_id: str) -> bool:
        """Make every process look at the channel's generation now instead of at its next poll."""
        return self.look(channel_id)

    def look(self, why: str = "") -> bool:
        """Make every process look now at what may have changed: generations and keys."""
        return self._tell(lambda: self.client.publish(WAKE_RELEASES, why))

    def listen(self, timeout: float) -> Iterator[bool]:
        """Yield True at each wake-up and False after `timeout` seconds without one; ends with Redis gone."""
        try:
            with self.client.pubsub(ignore_subscribe_messages=True) as subscription:  # type: ignore[no-untyped-call]
                subscription.subscribe(WAKE_RELEASES)
                self.back()
                while True:
                    yield subscription.get_message(timeout=timeout) is not None
        except redis.RedisError as error:
            self.away(error)

    def _tell(self, send: Callable[[], object]) -> bool:
        """Whether it was sent; where Redis hangs, one write waits for it and the next ones do not."""
        if time.monotonic() < self._around_until:
            return False
        try:
            send()
        except redis.RedisError as error:
            self.away(error)
            return False
        self.back()
        return True
