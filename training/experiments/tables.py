"""Markdown tables shaped like the paper's, its own figures beside ours."""

from collections.abc import Iterable, Sequence

from training.experiments.published import DIFFERENCES, RESULTS, TRAINABLE, Published
from training.experiments.study import Point
from training.experiments.summary import Cell, Cells, distinct

NONE = "-"
METRICS = {"hr10": "HR@10", "ndcg10": "NDCG@10"}
TRANSPOSED = ("table5", "table6")  # methods down, architectures across


def table(name: str, points: Sequence[Point], found: Cells) -> str:
    """The body of a report: one Markdown table, or one a panel for a figure."""
    if name.startswith("figure"):
        return "\n\n".join(_panel(panel, points, found) for panel in distinct(points, lambda p: p.panel))
    return (_by_variant if name in TRANSPOSED else _by_architecture)(name, points, found)


def markdown(rows: Iterable[Sequence[str]]) -> str:
    """Rows, the first of them the head -> a Markdown table."""
    head, *body = rows
    lines = [head, ["---"] * len(head), *body]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _by_architecture(name: str, points: Sequence[Point], found: Cells) -> str:
    """Tables 2 to 4: an architecture's HR@10 and NDCG@10 down, methods across, trainable parameters below."""
    series, panels = distinct(points, lambda p: p.series), distinct(points, lambda p: p.panel)
    differs = name == "table2"
    rows = [["architecture", "metric", "whose", *series, *(["difference"] if differs else [])]]
    for panel in panels:
        for metric, title in METRICS.items():
            ours = [found.get((panel, s, "")) for s in series]
            values = [c.metric(metric).value if c else None for c in ours]
            shown = [str(c.metric(metric)) if c else NONE for c in ours]
            rows.append(
                [panel, title, "ours", *_bold(shown, values), *([_change(values)] if differs else [])]
            )
            for encoder, published in RESULTS[name].get(panel, {}).items():
                theirs = [_value(published.get(s), metric) for s in series]
                printed = [DIFFERENCES[panel][encoder][metric]] if differs else []
                rows.append(["", "", f"paper, {encoder}", *theirs, *printed])
    return markdown([*rows, *_trainable(name, points, found, series)])


def _trainable(
    name: str, points: Sequence[Point], found: Cells, series: Sequence[str]
) -> Iterable[Sequence[str]]:
    """One block a modality: counts and shares, of full fine-tuning or (table 4) of the first column."""
    padding = [""] if name == "table2" else []
    for modality in distinct(points, lambda p: p.spec.modality):
        panel = next(p.panel for p in points if p.spec.modality == modality)
        ours = [found.get((panel, s, "")) for s in series]
        whole = ours[0].trainable if name == "table4" and ours[0] else None
        shown = [f"{c.trainable:,} ({c.trainable / (whole or c.full):.2%})" if c else NONE for c in ours]
        yield [modality, "trainable", "ours", *shown, *padding]
        for encoder in RESULTS[name].get(panel, {}):
            paper = TRAINABLE[name].get(encoder, {})
            yield ["", "", f"paper, {encoder}", *(paper.get(s, NONE) for s in series), *padding]


def _by_variant(name: str, points: Sequence[Point], found: Cells) -> str:
    """Tables 5 and 6: methods down; HR@10 of every architecture, ours and the paper's, across."""
    panels = distinct(points, lambda p: p.panel)
    counted = name in TRAINABLE
    modalities = distinct(points, lambda p: p.spec.modality) if counted else []
    head = ["method"]
    for panel in panels:
        head += [f"{panel}, ours", *(f"paper, {encoder}" for encoder in RESULTS[name].get(panel, {}))]
    rows = [[*head, *(f"trainable, {m}" for m in modalities), *(["trainable, paper"] if counted else [])]]
    for s in distinct(points, lambda p: p.series):
        row = [s]
        for panel in panels:
            cell = found.get((panel, s, ""))
            row.append(str(cell.metric("hr10")) if cell else NONE)
            row += [_value(r.get(s)) for r in RESULTS[name].get(panel, {}).values()]
        for modality in modalities:
            row.append(_count(found, next(p.panel for p in points if p.spec.modality == modality), s))
        rows.append([*row, *([next(iter(TRAINABLE[name].values())).get(s, NONE)] if counted else [])])
    return markdown(rows)


def _panel(panel: str, points: Sequence[Point], found: Cells) -> str:
    """One part of a figure: x down, lines across; HR@10 and, where it is the x, the number of parameters."""
    mine = [p for p in points if p.panel == panel]
    series, counted = distinct(mine, lambda p: p.series), "parameters" in panel
    rows = [["x", *series, *(["trainable"] if counted else [])]]
    for x in distinct(mine, lambda p: p.x):
        at = [found.get((panel, s, x)) for s in series]
        shown = [str(c.metric("hr10")) if c else NONE for c in at]
        count = next((f"{c.trainable:,}" for c in at if c), NONE)
        rows.append([x, *shown, *([count] if counted else [])])
    return f"**{panel}**, HR@10\n\n{markdown(rows)}"


def _bold(shown: Sequence[str], values: Sequence[float | None]) -> list[str]:
    """The best one of several."""
    known = [v for v in values if v is not None]
    best = max(known) if len(known) > 1 else None
    return [
        f"**{text}**" if v is not None and v == best else text for text, v in zip(shown, values, strict=True)
    ]


def _change(values: Sequence[float | None]) -> str:
    """Of the second against the first, in percent."""
    first, second = values[0], values[1]
    return f"{second / first - 1:+.2%}" if first and second is not None else NONE


def _value(cell: Published | None, metric: str = "hr10") -> str:
    value: float | None = getattr(cell, metric, None)
    return f"{value:.2f}" if value is not None else NONE


def _count(found: Cells, panel: str, series: str) -> str:
    cell: Cell | None = found.get((panel, series, ""))
    return f"{cell.trainable:,}" if cell else NONE
