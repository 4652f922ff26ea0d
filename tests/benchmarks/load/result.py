"""What a load saw, and how it is shown."""

import math
import statistics
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

LOST = 0  # in place of a status: the connection broke, or no answer came
HEADER = (
    "| | requests/s | p50 ms | p90 ms | p99 ms | p99.9 ms | max ms | late | failed | wrong | client |\n"
    "|---|---|---|---|---|---|---|---|---|---|---|"
)


@dataclass
class Result:
    """One load, or several of a kind put together.

    `latencies` are seconds of the answers with status 200. `unanswered` are seconds that requests had waited
    when the load ended: lower bounds, which count in the percentiles, so that a queue that only grows shows.
    """

    seconds: float = 0.0
    cpu_seconds: float = 0.0  # of the client: near `seconds`, it is the client that is measured
    latencies: list[float] = field(default_factory=list)
    unanswered: list[float] = field(default_factory=list)
    errors: Counter[int] = field(default_factory=Counter)  # by status
    late: int = 0  # arrivals that found all connections in use, and waited
    wrong: int = 0  # answers that the check refused

    @property
    def rate(self) -> float:
        """Requests answered with 200, a second."""
        return len(self.latencies) / self.seconds if self.seconds else 0.0

    @property
    def failed(self) -> int:
        """Requests with another status, or without an answer."""
        return self.errors.total() + len(self.unanswered)

    def percentile(self, percent: float) -> float:
        """Seconds within which so many per cent were answered (nearest rank); NaN without any."""
        ordered = sorted([*self.latencies, *self.unanswered])
        return ordered[max(0, math.ceil(len(ordered) * percent / 100) - 1)] if ordered else math.nan

    def row(self, name: str, rate: float | None = None) -> str:
        """A line under `HEADER`; the last cell is the share of one core that the client took."""
        cuts = " | ".join(f"{self.percentile(p) * 1e3:,.2f}" for p in (50, 90, 99, 99.9, 100))
        busy = f"{self.cpu_seconds / self.seconds:.0%}" if self.seconds else "-"
        shown = self.rate if rate is None else rate
        return f"| {name} | {shown:,.0f} | {cuts} | {self.late} | {self.failures()} | {self.wrong} | {busy} |"

    def failures(self) -> str:
        """How many failed, and as what."""
        kinds = [f"{n} x {status or 'lost'}" for status, n in sorted(self.errors.items())]
        kinds += [f"{len(self.unanswered)} unanswered"] if self.unanswered else []
        return ", ".join(kinds) or "0"


def together(results: Iterable[Result]) -> Result:
    """All rounds of one load as one: their latencies pooled."""
    whole = Result()
    for part in results:
        whole.seconds += part.seconds
        whole.cpu_seconds += part.cpu_seconds
        whole.latencies += part.latencies
        whole.unanswered += part.unanswered
        whole.errors += part.errors
        whole.late += part.late
        whole.wrong += part.wrong
    return whole


def median_rate(results: Sequence[Result]) -> float:
    """The median round's requests/s."""
    return statistics.median(result.rate for result in results)


def ratio(results: Sequence[Result], others: Sequence[Result]) -> float:
    """Median over the rounds of one load's requests/s to another's in the same round."""
    pairs = zip(results, others, strict=True)
    return statistics.median(own.rate / other.rate if other.rate else math.nan for own, other in pairs)
