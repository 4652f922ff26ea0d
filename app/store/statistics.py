"""What a channel's data is like: how much, since when, how it is spread over users and items."""

import threading
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import NamedTuple

from cachetools import LRUCache
from sqlalchemy import Integer, func, literal, literal_column, null, select, true, union_all
from sqlalchemy.orm import Session

from app.store.db import Database
from app.store.periods import Period, by_period
from app.store.tables import Channel, Interaction, Item

MOST_FREQUENT = 10
MOST_ATTRIBUTES = 100
KEPT = 1000  # channels
_DAY = 86_400_000  # milliseconds


class Bin(NamedTuple):
    """How many users or items have from `least` to `most` interactions."""

    least: int
    most: int
    number: int


class Frequent(NamedTuple):
    """An item that many interactions are of."""

    item_id: str
    text: str
    interactions: int


class Coverage(NamedTuple):
    """How many items have an attribute."""

    name: str
    items: int


@dataclass(frozen=True, slots=True)
class ChannelStatistics:
    """What a channel's data is like; of interactions with deleted items only `interactions`, `users`, their
    moments and periods know. `per_item` leaves out the `cold` items, those without interactions.
    """

    items: int
    interactions: int
    users: int
    first: datetime | None
    last: datetime | None
    unit: str
    periods: list[Period]
    per_user: list[Bin]
    per_item: list[Bin]
    cold: int
    top_1: float | None
    top_10: float | None
    frequent: list[Frequent]
    attributes: list[Coverage]


class Statistics:
    """The statistics of channels, kept until an item changes or interactions count; safe between threads.

    Single events count at the next settling, as they do for popularity: a busy channel is not counted anew at
    every event.
    """

    def __init__(self, db: Database) -> None:
        self._db = db
        self._kept: LRUCache[str, tuple[tuple[int, int], ChannelStatistics]] = LRUCache(KEPT)
        self._locks: defaultdict[str, threading.Lock] = defaultdict(threading.Lock)
        self._lock = threading.Lock()

    def get(self, channel: Channel) -> ChannelStatistics:
        """Return the channel's statistics as of its revisions; whoever asks meanwhile waits for them."""
        revisions = channel.items_revision, channel.events_revision
        with self._lock:
            turn = self._locks[channel.id]
        with turn:
            with self._lock:
                kept = self._kept.get(channel.id)
            if kept is None or kept[0] != revisions:
                with self._db.read() as s:
                    kept = revisions, count(s, channel.id)
                with self._lock:
                    self._kept[channel.id] = kept
        return kept[1]


def count(s: Session, channel_id: str) -> ChannelStatistics:
    """Count a channel's data, as one snapshot of it says: about a second for a million interactions."""
    of_items, frequent = _per_item(s, channel_id)
    of_users = _per_user(s, channel_id)
    days, first, last = _days(s, channel_id)
    unit, periods = by_period(days)
    cold = dict(of_items).get(0, 0)
    return ChannelStatistics(
        items=sum(number for _, number in of_items),
        interactions=sum(number for _, number in days),
        users=sum(number for _, number in of_users),
        first=_moment(first),
        last=_moment(last),
        unit=unit,
        periods=periods,
        per_user=_binned(of_users),
        per_item=_binned(of_items),
        cold=cold,
        top_1=_share_of_top(of_items, 0.01),
        top_10=_share_of_top(of_items, 0.1),
        frequent=frequent,
        attributes=_attributes(s, channel_id),
    )


def _per_item(s: Session, channel_id: str) -> tuple[list[tuple[int, int]], list[Frequent]]:
    """How many items have how many interactions, and those with most: one pass over the interactions."""
    met = (
        select(Interaction.item_id, func.count().label("met"))
        .where(Interaction.channel_id == channel_id)
        .group_by(Interaction.item_id)
        .subquery()
    )
    each = (
        select(Item.item_id, func.coalesce(met.c.met, 0).label("met"))
        .outerjoin(met, met.c.item_id == Item.item_id)
        .where(Item.channel_id == channel_id)
        .cte()
        .prefix_with("MATERIALIZED")
    )
    spread = select(null().label("item_id"), each.c.met, func.count().label("items")).group_by(each.c.met)
    most = (
        select(each.c.item_id, each.c.met, literal(1, Integer))
        .where(each.c.met > 0)
        .order_by(each.c.met.desc(), each.c.item_id)
        .limit(MOST_FREQUENT)
        .subquery()
    )
    rows = s.execute(union_all(spread, select(most))).all()
    frequent = {item_id: met for item_id, met, _ in rows if item_id is not None}
    named = select(Item.item_id, func.substr(Item.text, 1, 200)).where(
        Item.channel_id == channel_id, Item.item_id.in_(frequent)
    )
    texts: dict[str, str] = dict(s.execute(named).all())
    ranked = sorted(frequent.items(), key=lambda pair: (-pair[1], pair[0]))
    return (
        [(met, items) for item_id, met, items in rows if item_id is None],
        [Frequent(item_id, texts[item_id], met) for item_id, met in ranked],
    )


def _per_user(s: Session, channel_id: str) -> list[tuple[int, int]]:
    """How many users have how many interactions."""
    each = (
        select(func.count().label("met"))
        .where(Interaction.channel_id == channel_id)
        .group_by(Interaction.user_id)
        .subquery()
    )
    return [(met, users) for met, users in s.execute(select(each.c.met, func.count()).group_by(each.c.met))]


def _days(s: Session, channel_id: str) -> tuple[list[tuple[date, int]], int | None, int | None]:
    """Interactions by day, and the first and the last moment."""
    # A literal: PostgreSQL would take two parameters for two expressions.
    day = (Interaction.timestamp // literal_column(str(_DAY), Integer)).label("day")
    moment = Interaction.timestamp
    query = select(day, func.count(), func.min(moment), func.max(moment)).where(
        Interaction.channel_id == channel_id
    )
    rows = s.execute(query.group_by(day)).all()
    if not rows:
        return [], None, None
    days = [(datetime.fromtimestamp(number * _DAY / 1000, UTC).date(), met) for number, met, _, _ in rows]
    return days, min(row[2] for row in rows), max(row[3] for row in rows)


def _attributes(s: Session, channel_id: str) -> list[Coverage]:
    pair = func.json_each(Item.attributes).table_valued("key", "value", name="pair")  # both databases have it
    name = pair.c.key
    query = (
        select(name, func.count())
        .select_from(Item)
        .join(pair, true())
        .where(Item.channel_id == channel_id)
        .group_by(name)
        .order_by(func.count().desc(), name)
        .limit(MOST_ATTRIBUTES)
    )
    return [Coverage(*row) for row in s.execute(query)]


def _binned(spread: Sequence[tuple[int, int]]) -> list[Bin]:
    """1, 2-3, 4-7, ...: from one bin to the next twice as many."""
    bins: defaultdict[int, int] = defaultdict(int)
    for met, number in spread:
        if met:
            bins[met.bit_length() - 1] += number
    return [Bin(2**n, 2 ** (n + 1) - 1, bins[n]) for n in range(max(bins, default=-1) + 1)]


def _share_of_top(spread: Sequence[tuple[int, int]], share: float) -> float | None:
    """Which share of the interactions the most frequent `share` of the items has; None without any."""
    total = sum(met * number for met, number in spread)
    left = -(-sum(number for _, number in spread) * share // 1)  # rounded up: one item at least
    top = 0.0
    for met, number in sorted(spread, reverse=True):
        taken = min(left, number)
        top, left = top + met * taken, left - taken
    return top / total if total else None


def _moment(milliseconds: int | None) -> datetime | None:
    return None if milliseconds is None else datetime.fromtimestamp(milliseconds / 1000, UTC)
