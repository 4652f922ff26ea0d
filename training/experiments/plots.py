"""The figures as SVG: few elements, text as text, colours for the colour-blind (Okabe and Ito 2008)."""

import io
import re
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from app.core.errors import Invalid
from training.experiments.results import write_whole
from training.experiments.study import Point
from training.experiments.summary import Cell, Cells, distinct

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#000000")
MARKERS = "os^Dv<>"
SETTINGS: Any = {
    "svg.fonttype": "none",  # text stays text: small files, searchable
    "svg.hashsalt": "transrec",  # the same figures give the same file
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.grid.axis": "y",
    "grid.color": "#dddddd",
    "axes.axisbelow": True,
    "legend.frameon": False,
}
Draw = Callable[["Axes", Sequence[Point], Cells], None]


def need_matplotlib() -> None:
    """Raise `Invalid`, saying what to install, where it is missing."""
    if find_spec("matplotlib") is None:
        raise Invalid("Figures need matplotlib. Install it: pip install 'transrec-serve[experiments]'.")


def plot(name: str, points: Sequence[Point], found: Cells, folder: Path) -> Path:
    """Write `<name>.svg`, a panel beside the other."""
    import matplotlib as mpl
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    panels = distinct(points, lambda p: p.panel)
    columns = 2 if len(panels) == 4 else min(len(panels), 3)
    rows = -(-len(panels) // columns)
    with mpl.rc_context(SETTINGS):
        figure = Figure(figsize=(4.2 * columns, 3.2 * rows), layout="constrained")
        for number, panel in enumerate(panels):
            axes = figure.add_subplot(rows, columns, number + 1)
            mine = [p for p in points if p.panel == panel]
            _drawing(name, panel)(axes, mine, found)
            axes.set_title(panel, fontsize=9)
            axes.set_ylabel("HR@10 (%)")
            axes.yaxis.set_major_locator(MaxNLocator(5))
            axes.minorticks_off()
        return _save(figure, folder / f"{name}.svg")


def _save(figure: "Figure", path: Path) -> Path:
    """Without comments and indentation, which are a third of what matplotlib writes."""
    out = io.StringIO()
    figure.savefig(out, format="svg", metadata={"Date": None})
    lines = re.sub("<!--.*?-->", "", out.getvalue(), flags=re.DOTALL).splitlines()
    write_whole(path, "\n".join(line.strip() for line in lines if line.strip()) + "\n")
    return path


def _drawing(name: str, panel: str) -> Draw:
    if name.startswith("table"):
        return _bars
    if panel.startswith("a:"):
        return _grouped_bars
    return _by_size if "parameters" in panel else _lines


def _bars(axes: "Axes", points: Sequence[Point], found: Cells) -> None:
    """One bar a method."""
    labels = distinct(points, lambda p: p.series)
    for i, series in enumerate(labels):
        for _, cell in _known(points, series, found):
            hr = cell.metric("hr10")
            axes.bar(i, hr.value, yerr=hr.se, color=COLOURS[i % len(COLOURS)], width=0.7, capsize=3)
    slanted = len(labels) > 2
    axes.set_xticks(range(len(labels)), labels, rotation=30 * slanted, ha="right" if slanted else "center")


def _grouped_bars(axes: "Axes", points: Sequence[Point], found: Cells) -> None:
    """One group a target."""
    targets, series = distinct(points, lambda p: p.x), distinct(points, lambda p: p.series)
    width = 0.8 / len(series)
    for i, name in enumerate(series):
        known = _known(points, name, found)
        hr = [cell.metric("hr10") for _, cell in known]
        x = [place + (i - (len(series) - 1) / 2) * width for place, _ in known]
        heights, errors = [m.value for m in hr], [m.se for m in hr]
        axes.bar(x, heights, width, yerr=errors, color=COLOURS[i], capsize=3, label=name)
    axes.set_xticks(range(len(targets)), targets)
    axes.legend()


def _lines(axes: "Axes", points: Sequence[Point], found: Cells) -> None:
    """The x of the plan at equal distances: learning rates, shares of the data, NoPT."""
    for i, series in enumerate(distinct(points, lambda p: p.series)):
        known = _known(points, series, found)
        _line(axes, i, series, [float(place) for place, _ in known], [cell for _, cell in known])
    places = distinct(points, lambda p: p.x)
    axes.set_xticks(range(len(places)), places)
    axes.legend()


def _by_size(axes: "Axes", points: Sequence[Point], found: Cells) -> None:
    """Trainable parameters across, on a log scale."""
    for i, series in enumerate(distinct(points, lambda p: p.series)):
        of_series = sorted((cell for _, cell in _known(points, series, found)), key=lambda c: c.trainable)
        _line(axes, i, series, [float(cell.trainable) for cell in of_series], of_series)
    axes.set_xscale("log")
    axes.set_xlabel("trainable parameters")
    axes.legend()


def _known(points: Sequence[Point], series: str, found: Cells) -> list[tuple[int, Cell]]:
    """The finished cells of a series, each with the place of its x."""
    panel, places = points[0].panel, distinct(points, lambda p: p.x)
    at = [(i, found.get((panel, series, x))) for i, x in enumerate(places)]
    return [(i, cell) for i, cell in at if cell is not None]


def _line(axes: "Axes", number: int, label: str, x: list[float], of_line: Sequence[Cell]) -> None:
    hr = [cell.metric("hr10") for cell in of_line]
    axes.errorbar(
        x, [m.value for m in hr], yerr=[m.se for m in hr], label=label,
        color=COLOURS[number], marker=MARKERS[number], markersize=5, linewidth=1.5,
    )  # fmt: skip
