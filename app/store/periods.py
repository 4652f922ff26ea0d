"""Days put together to weeks, months or more, so that a plot has few bars."""

from collections.abc import Callable, Sequence
from datetime import date
from typing import NamedTuple

MOST_PERIODS = 60


class Period(NamedTuple):
    """A day, week, month, ...: its first day, and how many interactions are of it."""

    start: date
    interactions: int


class _Unit(NamedTuple):
    number: Callable[[date], int]  # of the unit that a day is in
    start: Callable[[int], date]


def _of_days(length: int) -> _Unit:
    # Day 1 was a Monday, and so is every week's first day.
    return _Unit(lambda day: (day.toordinal() - 1) // length, lambda n: date.fromordinal(n * length + 1))


def _of_months(length: int) -> _Unit:
    return _Unit(
        lambda day: (day.year * 12 + day.month - 1) // length,
        lambda n: date(n * length // 12, n * length % 12 + 1, 1),
    )


_UNITS = {
    "day": _of_days(1),
    "week": _of_days(7),
    "month": _of_months(1),
    "quarter": _of_months(3),
    "year": _of_months(12),
    "decade": _of_months(120),
}


def by_period(days: Sequence[tuple[date, int]]) -> tuple[str, list[Period]]:
    """Return the finest unit that has at most 60 periods from the first day to the last, and these, without
    gaps.
    """
    if not days:
        return "day", []
    first, last = min(days)[0], max(days)[0]
    name = next(n for n, u in _UNITS.items() if u.number(last) - u.number(first) < MOST_PERIODS)
    unit = _UNITS[name]
    begin, end = unit.number(first), unit.number(last)
    sums = dict.fromkeys(range(begin, end + 1), 0)
    for day, number in days:
        sums[unit.number(day)] += number
    return name, [Period(unit.start(n), number) for n, number in sums.items()]
