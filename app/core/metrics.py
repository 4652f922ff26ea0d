"""What is counted where it happens, for Prometheus. What can be read off the service's state is read at a
scrape instead (`app/api/gauges.py`). No label holds the name of a tenant or a user: each would be a series.
"""

import math
from dataclasses import dataclass
from functools import cache

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
)

# A second series for each, which nobody asks for.
disable_created_metrics()  # type: ignore[no-untyped-call]
REGISTRY = CollectorRegistry()
ProcessCollector(registry=REGISTRY)

_SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_SWAP_SECONDS = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 1800.0)

HTTP_REQUESTS = Counter(
    "transrec_http_requests", "Requests answered.", ["method", "route", "status"], registry=REGISTRY
)
HTTP_SECONDS = Histogram(
    "transrec_http_request_seconds",
    "Seconds from a request's head to the end of its answer.",
    ["method", "route"],
    buckets=_SECONDS,
    registry=REGISTRY,
)
IN_FLIGHT = Gauge(
    "transrec_http_requests_in_flight", "Requests being answered, a scrape included.", registry=REGISTRY
)
SWAP_SECONDS = Histogram(
    "transrec_swap_seconds",
    "Seconds from the start of a release's build until it answers.",
    buckets=_SWAP_SECONDS,
    registry=REGISTRY,
)
EVENTS = Counter("transrec_events", "Interactions sent as events.", ["outcome"], registry=REGISTRY)
RECOMMENDATIONS = Counter(
    "transrec_recommendations", "Recommendations answered.", ["variant", "reason"], registry=REGISTRY
)

# A look-up of labels costs more than the counting: it is done once for each combination.
_requests, _seconds = cache(HTTP_REQUESTS.labels), cache(HTTP_SECONDS.labels)
_recommendations = cache(RECOMMENDATIONS.labels)


def answered(method: str, route: str, status: int, seconds: float) -> None:
    """Count a request that has been answered."""
    _requests(method, route, status).inc()
    _seconds(method, route).observe(seconds)


def recommended(variant: str, reason: str) -> None:
    """Count a recommendation: of which variant, and its reason (`model`, `cold_start`, `popular`)."""
    _recommendations(variant, reason).inc()


def events(outcome: str, count: int = 1) -> None:
    """Count events by what became of them, such as `stored`, `duplicate` or `refused`."""
    EVENTS.labels(outcome).inc(count)


@dataclass(frozen=True)
class Latency:
    """How long a route took since the process started: (upper bound in seconds, answers up to it), rising."""

    buckets: tuple[tuple[float, float], ...] = ()

    @property
    def count(self) -> int:
        """All answers."""
        return int(self.buckets[-1][1]) if self.buckets else 0

    def ms(self, quantile: float) -> float | None:
        """Milliseconds below which that share of the answers took, to a bucket and straight in between.

        None without an answer; above the last bound it is that bound.
        """
        wanted, lower, before = quantile * self.count, 0.0, 0.0
        for upper, upto in self.buckets:
            if upto and upto >= wanted:
                if math.isinf(upper):
                    return 1000 * lower
                return round(1000 * (lower + (upper - lower) * (wanted - before) / (upto - before)), 2)
            lower, before = upper, upto
        return None


def latency(method: str, route: str) -> Latency:
    """Return how long a route took in this process."""
    mine = {"method": method, "route": route}
    return Latency(
        tuple(
            (float(sample.labels["le"]), sample.value)
            for family in HTTP_SECONDS.collect()
            for sample in family.samples
            if sample.name.endswith("_bucket") and mine.items() <= sample.labels.items()
        )
    )
