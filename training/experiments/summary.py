"""Means over seeds: from run results to the cells of a table or the points of a line."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np

from training.experiments.results import RunResult
from training.experiments.study import Point

Place = tuple[str, str, str]  # panel, series, x
MAIN: Final = "paper"  # the protocol of tables and figures; the CSV holds every protocol


@dataclass(frozen=True)
class Mean:
    """A mean over `seeds` runs and its standard error; of one run, the standard error over its users."""

    value: float
    se: float
    seeds: int

    def __str__(self) -> str:
        return f"{self.value:.2f} ± {self.se:.2f}"


@dataclass(frozen=True)
class Cell:
    """All finished runs of one place, one a seed."""

    results: tuple[RunResult, ...]

    def metric(self, name: str) -> Mean:
        """`hr10` or `ndcg10` on the test split, in percent."""
        values = [100 * r.test[MAIN][name] for r in self.results]
        if len(values) == 1:
            return Mean(values[0], 100 * self.results[0].test[MAIN][f"{name}_se"], 1)
        return Mean(float(np.mean(values)), float(np.std(values, ddof=1) / len(values) ** 0.5), len(values))

    @property
    def trainable(self) -> int:
        """The same for every seed."""
        return self.results[0].trainable

    @property
    def full(self) -> int:
        """Parameters of full fine-tuning."""
        return self.results[0].full


Cells = Mapping[Place, Cell]


def cells(points: Iterable[Point], results: Mapping[str, RunResult]) -> Cells:
    """Places with at least one finished run."""
    found: dict[Place, list[RunResult]] = {}
    for point in points:
        result = results.get(point.spec.key)
        if result and result.status == "done":
            found.setdefault((point.panel, point.series, point.x), []).append(result)
    return {place: Cell(tuple(of_place)) for place, of_place in found.items()}


def distinct(points: Iterable[Point], key: Callable[[Point], str]) -> list[str]:
    """What occurs, in the order of the plan."""
    return list(dict.fromkeys(key(point) for point in points))
