"""What a channel's data is like, on both databases, against counts by hand."""

from collections import Counter
from datetime import UTC, date, datetime

import pytest

from app.store import catalog, events, statistics
from app.store.catalog import ItemRow
from app.store.db import Database
from app.store.events import InteractionRow
from app.store.periods import by_period
from app.store.statistics import Bin, Coverage, Frequent, Statistics
from app.store.tables import Channel

DAY = 86_400_000
ITEMS = [ItemRow(f"i{n}", f"text {n}", {"a": 1, "b": n} if n % 2 else {"a": 2}) for n in range(20)]
# Item 0 is met 9 times, item 1 four times, items 2 to 4 once; "gone" is not in the catalogue.
MET = [("u0", "i0", n * DAY) for n in range(9)]
MET += [(f"u{n}", "i1", 40 * DAY + n) for n in range(4)]
MET += [("u0", f"i{n}", 50 * DAY) for n in (2, 3, 4)] + [("u9", "gone", 59 * DAY + 5)]


@pytest.fixture
def filled(database: Database, channel: Channel) -> Channel:
    with database.session() as s:
        catalog.upsert_items(s, channel.id, ITEMS)
        events.append_interactions(s, channel.id, [InteractionRow(*met) for met in MET])
    return channel


def test_counts(database: Database, filled: Channel) -> None:
    with database.read() as s:
        found = statistics.count(s, filled.id)
    assert (found.items, found.interactions, found.users, found.cold) == (20, 17, 5, 15)
    assert found.first == datetime.fromtimestamp(0, UTC)
    assert found.last == datetime.fromtimestamp(59 * 86_400 + 0.005, UTC)
    assert found.per_item == [Bin(1, 1, 3), Bin(2, 3, 0), Bin(4, 7, 1), Bin(8, 15, 1)]
    assert found.per_user == [Bin(1, 1, 4), Bin(2, 3, 0), Bin(4, 7, 0), Bin(8, 15, 1)]
    assert found.frequent[:3] == [
        Frequent("i0", "text 0", 9),
        Frequent("i1", "text 1", 4),
        Frequent("i2", "text 2", 1),
    ]
    assert len(found.frequent) == 5
    assert found.attributes == [Coverage("a", 20), Coverage("b", 10)]
    assert found.top_1 == pytest.approx(9 / 16)  # one item of twenty
    assert found.top_10 == pytest.approx(13 / 16)
    assert found.unit == "day"
    by_day = Counter(date.fromordinal(date(1970, 1, 1).toordinal() + met[2] // DAY) for met in MET)
    assert {period.start: period.interactions for period in found.periods if period.interactions} == by_day
    assert len(found.periods) == 60


def test_nothing(database: Database, channel: Channel) -> None:
    with database.read() as s:
        found = statistics.count(s, channel.id)
    assert (found.items, found.interactions, found.users, found.cold) == (0, 0, 0, 0)
    assert (found.first, found.last, found.top_1, found.top_10) == (None, None, None, None)
    assert not (found.periods or found.per_item or found.per_user or found.frequent or found.attributes)


def test_kept_until_the_data_is_another(database: Database, filled: Channel) -> None:
    kept = Statistics(database)
    first = kept.get(filled)
    assert kept.get(filled) is first
    with database.session() as s:
        catalog.delete_items(s, filled.id, ["i0"])
    with database.read() as s:
        again = s.get_one(Channel, filled.id)
    assert kept.get(again).items == 19
    assert kept.get(again).frequent[0].item_id == "i1"


@pytest.mark.parametrize(
    ("days", "unit", "periods"),
    [
        ([date(2024, 2, 29)], "day", 1),
        ([date(2024, 1, 1), date(2024, 2, 29)], "day", 60),
        ([date(2024, 1, 1), date(2024, 3, 1)], "week", 9),
        ([date(2024, 1, 1), date(2025, 12, 31)], "month", 24),
        ([date(2015, 1, 1), date(2024, 12, 31)], "quarter", 40),
        ([date(1970, 1, 1), date(2024, 12, 31)], "year", 55),
        ([date(1970, 1, 1), date(2099, 12, 31)], "decade", 13),
    ],
)
def test_few_periods_without_gaps(days: list[date], unit: str, periods: int) -> None:
    name, found = by_period([(day, 2) for day in days])
    assert (name, len(found)) == (unit, periods)
    assert sum(period.interactions for period in found) == 2 * len(days)
    assert found[0].start <= days[0]
    assert found[-1].start <= days[-1]
    assert found[0].interactions
    assert found[-1].interactions
