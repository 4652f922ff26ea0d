"""Online metrics: how many recommendations each version gave as what, and how many of them were clicked.

A click counts for the minute in which its recommendation was given, which the recommendation's id says: so a
window's clicks are of that window's recommendations, however late they come.
"""

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from sqlalchemy import case, delete, func, select
from sqlalchemy.orm import Session

from app.core.attribution import Variant
from app.core.clock import milliseconds, now
from app.store.chunks import MOST_IDS, chunked
from app.store.db import insert_into
from app.store.tables import Channel, Click, Impressions, ShadowResult

MINUTE, HOUR = 60_000, 3_600_000  # milliseconds
KEPT = timedelta(days=30)

Given = tuple[str, int, int, Variant]
"""Channel id, minute (its start, in milliseconds since 1970), version, variant."""

Compared = tuple[str, int, int]
"""Channel id, minute, version of the challenger."""


@dataclass(frozen=True)
class Rate:
    """A click-through rate: recommendations with at least one click, of all."""

    recommendations: int = 0
    clicked: int = 0

    @property
    def ctr(self) -> float | None:
        """The rate; None without a recommendation. Counts of the last seconds may be missing: at most 1."""
        return min(1.0, self.clicked / self.recommendations) if self.recommendations else None

    @property
    def standard_error(self) -> float | None:
        """Of the rate."""
        p = self.ctr
        return None if p is None else math.sqrt(p * (1 - p) / self.recommendations)


@dataclass(frozen=True)
class Comparison:
    """How a challenger's answers compare with those that were given: means over `queries`."""

    queries: int
    overlap: float | None
    same_first: float | None


@dataclass(slots=True)
class Sums:
    """What a minute's comparisons add up to."""

    queries: int = 0
    overlap: float = 0.0
    same_first: int = 0

    def add(self, other: "Sums") -> None:
        """Add another's."""
        self.queries += other.queries
        self.overlap += other.overlap
        self.same_first += other.same_first


_given_at = func.substr(Click.recommendation_id, 5, 12)  # hex digits sort as the numbers that they are


def add(s: Session, given: Mapping[Given, int], compared: Mapping[Compared, Sums]) -> None:
    """Add counts and sums to those that are there; those of channels that are gone are dropped."""
    asked = {key[0] for key in given} | {key[0] for key in compared}
    # Locked as a reference to them locks them: none can go before the commit.
    query = select(Channel.id).where(Channel.id.in_(asked)).with_for_update(read=True, key_share=True)
    there = set(s.scalars(query))
    # Sorted, so that two processes that write at once lock rows in one order.
    impressions = [
        {"channel_id": c, "minute": m, "version": v, "variant": variant, "recommendations": n}
        for (c, m, v, variant), n in sorted(given.items())
        if c in there
    ]
    results = [
        {
            "channel_id": c,
            "minute": m,
            "version": v,
            "queries": sums.queries,
            "overlap": sums.overlap,
            "same_first": sums.same_first,
        }
        for (c, m, v), sums in sorted(compared.items(), key=lambda pair: pair[0])
        if c in there
    ]
    _add(s, Impressions, impressions, ("recommendations",))
    _add(s, ShadowResult, results, ("queries", "overlap", "same_first"))


def _add(s: Session, table: type, rows: list[dict[str, object]], summed: tuple[str, ...]) -> None:
    insert = insert_into(s, table)
    keys = [column.name for column in insert.table.primary_key]
    values = {name: getattr(table, name) + insert.excluded[name] for name in summed}
    statement = insert.on_conflict_do_update(index_elements=keys, set_=values)
    if rows:
        s.execute(statement, rows)


def rates(
    s: Session, channel_id: str, since: datetime, until: datetime | None = None
) -> dict[tuple[int, str], Rate]:
    """Return the rate of each version and variant of the minutes from `since` to before `until`."""
    start, end = _minutes(since, until)
    counts = (
        select(Impressions.version, Impressions.variant, func.sum(Impressions.recommendations))
        .where(Impressions.channel_id == channel_id, Impressions.minute >= start, Impressions.minute < end)
        .group_by(Impressions.version, Impressions.variant)
    )
    clicks = (
        select(Click.version, Click.variant, func.count(Click.recommendation_id.distinct()))
        .where(Click.channel_id == channel_id, Click.at >= start)  # the first is for the index only
        .where(_given_at >= f"{start:012x}", _given_at < f"{end:012x}")
        .group_by(Click.version, Click.variant)
    )
    given = {(version, variant): int(n) for version, variant, n in s.execute(counts)}
    clicked = {(version, variant): int(n) for version, variant, n in s.execute(clicks)}
    return {key: Rate(given.get(key, 0), clicked.get(key, 0)) for key in sorted(given.keys() | clicked)}


def recommended(s: Session, channel_ids: Collection[str], since: datetime) -> dict[str, int]:
    """Return how many recommendations each of the channels gave since then; none that gave none."""
    given: dict[str, int] = {}
    for chunk in chunked(channel_ids, MOST_IDS):
        query = (
            select(Impressions.channel_id, func.sum(Impressions.recommendations))
            .where(Impressions.channel_id.in_(chunk), Impressions.minute >= _minutes(since)[0])
            .group_by(Impressions.channel_id)
        )
        given |= {channel_id: int(n) for channel_id, n in s.execute(query)}
    return given


def hourly(
    s: Session, channel_ids: Collection[str], until: datetime, hours: int
) -> dict[tuple[str, str], list[int]]:
    """Return the recommendations of each of the last `hours` hours, oldest first, by channel and variant.

    The last of them ends at `until`; a channel and variant without any are left out.
    """
    start, end = milliseconds(hour_start(until, hours)), milliseconds(hour_start(until, 0))
    hour = (Impressions.minute - start) // HOUR
    query = (
        select(Impressions.channel_id, Impressions.variant, hour, func.sum(Impressions.recommendations))
        .where(Impressions.minute >= start, Impressions.minute < end)
        .group_by(Impressions.channel_id, Impressions.variant, hour)
    )
    found: dict[tuple[str, str], list[int]] = {}
    for chunk in chunked(channel_ids, MOST_IDS):
        for channel_id, variant, n, count in s.execute(query.where(Impressions.channel_id.in_(chunk))):
            found.setdefault((channel_id, variant), [0] * hours)[n] = int(count)
    return found


def clicked(s: Session, channel_ids: Collection[str], until: datetime, hours: int) -> dict[str, int]:
    """Return how many recommendations of the last hours were clicked, of each channel that has any."""
    start, end = milliseconds(hour_start(until, hours)), milliseconds(hour_start(until, 0))
    query = (
        select(Click.channel_id, func.count(Click.recommendation_id.distinct()))
        .where(Click.at >= start, _given_at >= f"{start:012x}", _given_at < f"{end:012x}")
        .group_by(Click.channel_id)
    )
    found: dict[str, int] = {}
    for chunk in chunked(channel_ids, MOST_IDS):
        found |= dict(s.execute(query.where(Click.channel_id.in_(chunk))).all())
    return found


def hourly_rates(s: Session, channel_id: str, until: datetime, hours: int) -> dict[str, list[Rate]]:
    """Return the rate of each of the last hours, oldest first, by variant; of one channel."""
    starts = [milliseconds(hour_start(until, before)) for before in range(hours, -1, -1)]
    hour = case(*((_given_at < f"{end:012x}", n) for n, end in enumerate(starts[1:])))
    query = (
        select(Click.variant, hour, func.count(Click.recommendation_id.distinct()))
        .where(Click.channel_id == channel_id, Click.at >= starts[0])
        .where(_given_at >= f"{starts[0]:012x}", _given_at < f"{starts[-1]:012x}")
        .group_by(Click.variant, hour)
    )
    clicks = {(variant, n): int(count) for variant, n, count in s.execute(query)}
    given = {variant: counts for (_, variant), counts in hourly(s, [channel_id], until, hours).items()}
    variants = given.keys() | {variant for variant, _ in clicks}
    nothing = [0] * hours
    return {
        v: [Rate(count, clicks.get((v, n), 0)) for n, count in enumerate(given.get(v, nothing))]
        for v in variants
    }


def hour_start(until: datetime, before: int) -> datetime:
    """Return the start of the hour that is so many before `until`; the minute of `until` counts whole."""
    end = milliseconds(until) // MINUTE * MINUTE + MINUTE
    return datetime.fromtimestamp((end - before * HOUR) / 1000, UTC)


def comparison(s: Session, channel_id: str, version: int, since: datetime) -> Comparison:
    """Return how the challenger's shadow answers compare since then."""
    query = select(
        func.sum(ShadowResult.queries), func.sum(ShadowResult.overlap), func.sum(ShadowResult.same_first)
    ).where(
        ShadowResult.channel_id == channel_id,
        ShadowResult.version == version,
        ShadowResult.minute >= _minutes(since)[0],
    )
    queries, overlap, same_first = s.execute(query).one()
    if not queries:
        return Comparison(0, None, None)
    return Comparison(int(queries), float(overlap) / int(queries), int(same_first) / int(queries))


def prune(s: Session, before: datetime) -> None:
    """Delete what is older."""
    moment = milliseconds(before)
    s.execute(delete(Impressions).where(Impressions.minute < moment))
    s.execute(delete(ShadowResult).where(ShadowResult.minute < moment))
    s.execute(delete(Click).where(Click.at < moment))


def _minutes(since: datetime, until: datetime | None = None) -> tuple[int, int]:
    end = milliseconds(until or now() + timedelta(days=1))
    return milliseconds(since) // MINUTE * MINUTE, end // MINUTE * MINUTE
