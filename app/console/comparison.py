"""Two versions side by side: figures with their difference, knobs that differ, curves, clicks."""

from dataclasses import dataclass
from typing import Any

from app.console.release_view import ReleaseView, difference

MEASURES = (
    ("test", "hr10", "HR@10"),
    ("test", "ndcg10", "NDCG@10"),
    ("test", "cold_hr10", "HR@10, new items"),
    ("test", "cold_ndcg10", "NDCG@10, new items"),
    ("validation", "hr10", "HR@10"),
    ("validation", "ndcg10", "NDCG@10"),
)


@dataclass(frozen=True)
class Side:
    """One of the two: the version, and the curve of its training."""

    version: ReleaseView
    curve: list[dict[str, float]]

    @property
    def label(self) -> str:
        """Its name in a chart."""
        return f"version {self.version.number}"


@dataclass(frozen=True)
class Measure:
    """One figure of either; `difference` is the second's less the first's, with its standard error."""

    split: str
    name: str
    values: tuple[float | None, float | None]
    errors: tuple[float | None, float | None]
    difference: tuple[float, float] | None

    @property
    def clear(self) -> bool:
        """Whether the difference is more than twice its standard error."""
        return self.difference is not None and abs(self.difference[0]) > 2 * self.difference[1]


@dataclass(frozen=True)
class Comparison:
    """What the page shows."""

    sides: tuple[Side, Side]
    measures: list[Measure]
    knobs: list[tuple[str, Any, Any]]
    online: list[dict[str, Any]]

    def charted(self, figure: str) -> tuple[list[int], list[dict[str, Any]]]:
        """Epochs, and a series a side, for a chart."""
        longest = max(len(side.curve) for side in self.sides)
        series = [
            {
                "label": side.label,
                "values": [point[figure] for point in side.curve] + [None] * (longest - len(side.curve)),
            }
            for side in self.sides
            if side.curve
        ]
        return list(range(1, longest + 1)), series


def compare(a: Side, b: Side, online: list[dict[str, Any]]) -> Comparison:
    """Compare `b` with `a`; `online` is what the API says of all versions."""
    measures = [found for measure in MEASURES if (found := _measure(a, b, *measure))]
    left, right = (_asked(side.version) for side in (a, b))
    knobs = [(name, left.get(name), right.get(name)) for name in dict.fromkeys([*left, *right])]
    numbers = {a.version.number, b.version.number}
    return Comparison((a, b), measures, knobs, [rate for rate in online if rate["version"] in numbers])


def _measure(a: Side, b: Side, split: str, key: str, name: str) -> Measure | None:
    left, right = a.version.measured(split), b.version.measured(split)
    values = left.get(key), right.get(key)
    errors = left.get(f"{key}_se"), right.get(f"{key}_se")
    if values == (None, None) or (key.startswith("cold_") and not _new_items(left, right)):
        return None
    return Measure(split, name, values, errors, difference(values[1], errors[1], values[0], errors[0]))


def _new_items(*sides: dict[str, Any]) -> bool:
    """Whether either was measured on items that training had not seen."""
    return any(side.get("cold_users") for side in sides)


def _asked(version: ReleaseView) -> dict[str, Any]:
    words = {True: "yes", False: "no"}
    asked = {"method": version.release["method"], **version.release["config"]}
    return {k: words[v] if isinstance(v, bool) else v for k, v in asked.items()}
