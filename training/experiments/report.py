"""A report: what was run, what the scale cut, the table, baselines, failures; and a CSV, one row a run."""

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from training.experiments.facts import facts
from training.experiments.plan import runs
from training.experiments.results import Figures, RunResult, write_whole
from training.experiments.spec import RunSpec
from training.experiments.study import Point, Study
from training.experiments.summary import cells
from training.experiments.tables import markdown, table

TITLES = {
    "table2": "Table 2: fine-tuning all parameters against adapter tuning",
    "table3": "Table 3: parameter-efficient methods",
    "table4": "Table 4: adapters in both encoders, in the item encoder, in the user encoder",
    "table5": "Table 5: adapter position inside a transformer block",
    "table6": "Table 6: insertion method, with and without LayerNorm tuning",
    "figure3": "Figure 3: targets, learning rates, trainable parameters",
    "figure6": "Figure 6: scaling of the source and of the target data",
}
Baselines = Mapping[str, Mapping[str, Figures]]  # target -> baseline -> figures by the main protocol


def write_report(
    name: str, study: Study, points: Sequence[Point], results: Mapping[str, RunResult],
    baselines: Baselines, folder: Path,
) -> Path:  # fmt: skip
    """Write `<name>.csv` and `<name>.md`; returns the latter's path."""
    specs = runs(points)
    mine = {s.key: results[s.key] for s in specs if s.key in results}
    write_whole(folder / f"{name}.csv", as_csv(mine.values()))
    found = cells(points, mine)
    parts = [
        f"# {TITLES[name]}",
        facts(study, specs, mine.values()),
        table(name, points, found),
        *_notes(name),
        *_baselines(specs, baselines),
        *_missing(specs, mine),
    ]
    path = folder / f"{name}.md"
    write_whole(path, "\n\n".join(parts) + "\n")
    return path


def as_csv(results: Iterable[RunResult]) -> str:
    """One row a run: its spec, every figure by every protocol, sizes, times, versions."""
    rows = [_flat(result) for result in results]
    columns = list(dict.fromkeys(column for row in rows for column in row))
    out = io.StringIO()
    writer = csv.DictWriter(out, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return out.getvalue()


def _flat(result: RunResult) -> dict[str, Any]:
    spec = result.spec.model_dump(mode="json")
    spec["sources"] = "+".join(result.spec.sources)
    spec["options"] = " ".join(f"{k}={v}" for k, v in sorted(result.spec.options.items()))
    row: dict[str, Any] = {"key": result.spec.key, **spec, "status": result.status}
    row |= {f"validation_{k}": v for k, v in result.validation.items()}
    row |= {f"test_{p}_{k}": v for p, figures in result.test.items() for k, v in figures.items()}
    names = ("trainable", "full", "users", "items", "epochs", "seconds", "wall", "error")
    row |= {k: getattr(result, k) for k in names}
    return row | result.versions


def _notes(name: str) -> list[str]:
    if name.startswith("figure"):
        return [
            f"HR@10 in percent, test split. The paper gives this figure as a drawing without numbers. "
            f"See [{name}.svg]({name}.svg)."
        ]
    return [
        "In percent, test split. The paper's figures are of other data and larger encoders: compare their "
        f"order, not their values. See [{name}.svg]({name}.svg)."
    ]


def _baselines(specs: Sequence[RunSpec], baselines: Baselines) -> list[str]:
    """Without any pretrained model, on the same split."""
    rows = [["target", "baseline", "HR@10", "NDCG@10"]]
    for target in dict.fromkeys(s.target for s in specs):
        for baseline, figures in baselines.get(target, {}).items():
            shown = [f"{100 * figures[m]:.2f} ± {100 * figures[f'{m}_se']:.2f}" for m in ("hr10", "ndcg10")]
            rows.append([target, baseline, *shown])
    return ["Baselines:", markdown(rows)] if len(rows) > 1 else []


def _missing(specs: Sequence[RunSpec], results: Mapping[str, RunResult]) -> list[str]:
    lines = []
    for spec in specs:
        result = results.get(spec.key)
        if result is None:
            lines.append(f"- not run: {spec.title}")
        elif result.status == "failed":
            lines.append(f"- failed: {spec.title}: {result.error}")
    return ["Not in the table (the same command tries them again):", "\n".join(lines)] if lines else []
