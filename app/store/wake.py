"""Wake-ups through Redis. The rows are the truth: without Redis all still happens, at the next poll."""

import logging
from collections.abc import Iterator

import redis
from rq import Queue
from rq.serializers import JSONSerializer

from app.core.names import QUEUE_TRAINING, WAKE_RELEASES

log = logging.getLogger(__name__)
RUN_JOB = "training.worker.run_job"  # by name: the service never imports training


class Wake:
    """Tells other processes that rows have changed; never raises for a Redis that is away."""

    def __init__(self, url: str) -> None:
        self.client = redis.Redis.from_url(url, socket_connect_timeout=2, socket_timeout=5)
        self._away = False

    def ping(self) -> bool:
        """Whether Redis answers."""
        try:
            return bool(self.client.ping())
        except redis.RedisError:
            return False

    def away(self, error: redis.RedisError) -> None:
        """Say once that Redis has gone, not at every poll."""
        if not self._away:
            log.warning("Redis is away (%s): going on by polling the database", type(error).__name__)
        self._away = True

    def back(self) -> None:
        """Say once that Redis answers again."""
        if self._away:
            log.warning("Redis is back")
        self._away = False

    def job(self, job_id: str) -> bool:
        """Queue a training job for the workers; JSON, so that no pickle is ever read."""
        try:
            queue = Queue(QUEUE_TRAINING, connection=self.client, serializer=JSONSerializer)
            queue.enqueue(RUN_JOB, job_id, job_timeout=-1, result_ttl=0, failure_ttl=0)
        except redis.RedisError as error:
            self.away(error)
            return False
        return True

    def releases(self, channel_id: str) -> bool:
        """Make every process look at the channel's generation now instead of at its next poll."""
        return self.look(channel_id)

    def look(self, why: str = "") -> bool:
        """Make every process look now at what may have changed: generations and keys."""
        try:
            self.client.publish(WAKE_RELEASES, why)
        except redis.RedisError as error:
            self.away(error)
            return False
        return True

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
