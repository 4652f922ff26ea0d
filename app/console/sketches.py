"""Drawings of the size of a word, as the numbers of an SVG: no script is needed to see them."""

from collections.abc import Sequence
from dataclasses import dataclass

WIDTH, HEIGHT = 96, 24
BAR = 64


@dataclass(frozen=True)
class Bars:
    """Two lengths on one scale, in pixels."""

    value: float
    other: float


def sparkline(values: Sequence[float]) -> str:
    """The points of a polyline in a box of 96 x 24, the largest value at its top."""
    top, steps = max(values, default=0) or 1, max(len(values) - 1, 1)
    return " ".join(
        f"{WIDTH * n / steps:.1f},{HEIGHT - 1 - (HEIGHT - 2) * value / top:.1f}"
        for n, value in enumerate(values)
    )


def bars(value: float | None, other: float | None) -> Bars:
    """How long they are, the longer one 64 pixels."""
    longest = max(value or 0, other or 0) or 1
    return Bars(round(BAR * (value or 0) / longest, 1), round(BAR * (other or 0) / longest, 1))
