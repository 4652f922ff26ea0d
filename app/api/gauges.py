"""Metrics that are read at a scrape, so that requests pay nothing for them: tiers, queue, releases, jobs."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as TooSlow
from importlib import metadata
from typing import Any

from prometheus_client import Metric
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

from app.core.errors import Unavailable
from app.serving.engine import Engine
from app.store import jobs, workers
from app.store.db import Database
from app.store.wake import Wake

LOOK_SECONDS = 2.0  # so long may the database or Redis take, then they count as away
GAUGES = {
    "transrec_info": ("The version that runs.", "version"),
    "transrec_tier_bytes": ("Bytes held.", "tier modality"),
    "transrec_queue_waiting": ("Requests that wait for the model.", "modality"),
    "transrec_releases_live": ("Channels that answer.", ""),
    "transrec_releases_failing": ("Channels whose newest release was not built.", ""),
    "transrec_gpu_memory_bytes": ("The GPU's memory.", "kind"),
    "transrec_jobs": ("Training jobs.", "state"),
    "transrec_workers_alive": ("Training workers that live.", ""),
    "transrec_database_up": ("Whether the database answers.", ""),
    "transrec_redis_up": ("Whether Redis answers.", ""),
}
COUNTERS = {
    "transrec_tier_hits": ("Found where they were looked for.", "tier modality"),
    "transrec_tier_misses": ("Had to be brought there.", "tier modality"),
    "transrec_tier_evictions": ("Left to make room.", "tier modality"),
    "transrec_queue_answered": ("Requests that the model answered.", "modality"),
    "transrec_queue_refused": ("Requests that found the queue full: a 429.", "modality"),
    "transrec_queue_expired": ("Requests that waited too long: a 429.", "modality"),
}
_Values = Iterable[tuple[tuple[str, ...], float]]


class StateCollector:
    """A collector for `prometheus_client` over the service's state."""

    def __init__(self, engine: Engine, db: Database, wake: Wake) -> None:
        self._engine = engine
        self._jobs, self._redis = Looked(lambda: _jobs(db)), Looked(wake.ping)

    def collect(self) -> Iterator[Metric]:
        """All that can be said now."""
        state = self._engine.state()
        yield _metric("transrec_info", [((metadata.version("transrec-serve"),), 1)])
        yield from _tiers(state["device"], state["host"])
        yield from _queue(state["queue"])
        yield _metric("transrec_releases_live", [((), len(self._engine.live))])
        yield _metric("transrec_releases_failing", [((), len(self._engine.failures))])
        if memory := self._engine.gpu():
            yield _metric("transrec_gpu_memory_bytes", _by_label(memory))
        yield _metric("transrec_redis_up", [((), bool(self._redis.value()))])
        found: tuple[dict[str, int], int] | None = self._jobs.value()
        yield _metric("transrec_database_up", [((), found is not None)])
        if found is not None:
            yield _metric("transrec_jobs", _by_label(found[0]))
            yield _metric("transrec_workers_alive", [((), found[1])])

    def close(self) -> None:
        """End its threads."""
        self._jobs.close()
        self._redis.close()


class Looked:
    """Asks in a thread of its own, one question at a time: what hangs must not hang the scrape."""

    def __init__(self, ask: Callable[[], Any]) -> None:
        self._ask, self._asked = ask, Future[Any]()
        self._asked.set_result(None)
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="scrape")

    def value(self, seconds: float = LOOK_SECONDS) -> Any:
        """The answer; None when it does not come in time."""
        if self._asked.done():
            self._asked = self._thread.submit(self._ask)
        try:
            return self._asked.result(seconds)
        except TooSlow:
            return None

    def close(self) -> None:
        """End the thread, when it has its answer."""
        self._thread.shutdown(wait=False)


def _jobs(db: Database) -> tuple[dict[str, int], int] | None:
    try:
        with db.read() as s:
            return jobs.count_by_state(s), workers.count_alive(s)
    except Unavailable:
        return None


def _metric(name: str, values: _Values) -> Metric:
    words, labels = GAUGES.get(name) or COUNTERS[name]
    kind = GaugeMetricFamily if name in GAUGES else CounterMetricFamily
    family: GaugeMetricFamily | CounterMetricFamily = kind(name, words, labels=labels.split())
    for label_values, value in values:
        family.add_metric(label_values, value)
    return family


def _by_label(values: Mapping[str, float]) -> _Values:
    return [((label,), value) for label, value in values.items()]


def _tiers(device: Mapping[str, Any], host: Mapping[str, Any]) -> Iterator[Metric]:
    """`device` and `host` lie in the model's process, `server` in the one that answers HTTP."""
    tiers = {
        ("device", modality): {**stats, "bytes": stats["resident_bytes"]}
        for modality, stats in device.items()
    }
    tiers |= {("server", "all") if key == "server" else ("host", key): stats for key, stats in host.items()}
    for field in ("hits", "misses", "evictions", "bytes"):
        yield _metric(f"transrec_tier_{field}", [(labels, stats[field]) for labels, stats in tiers.items()])


def _queue(queues: Mapping[str, Mapping[str, int]]) -> Iterator[Metric]:
    for field in ("waiting", "answered", "refused", "expired"):
        values = {modality: queue[field] for modality, queue in queues.items()}
        yield _metric(f"transrec_queue_{field}", _by_label(values))
