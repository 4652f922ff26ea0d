"""The head of a report: all that one must know to read its figures, or to make them again."""

from collections.abc import Iterable, Sequence

from training.experiments.environment import command
from training.experiments.results import RunResult
from training.experiments.spec import RunSpec
from training.experiments.study import Study
from training.experiments.summary import MAIN


def facts(study: Study, specs: Sequence[RunSpec], results: Iterable[RunResult]) -> str:
    """A Markdown list: command, data, encoders, what the scale cuts, protocol, rates, time, versions."""
    done = [r for r in results if r.status == "done"]
    lines = [
        f"Command: `{command()}`",
        *(f"{t.modality}: {', '.join(t.sources)} -> {', '.join(t.targets)}" for t in study.transfers),
        *(f"Item encoder ({t.modality}): {t.encoder}, {t.layers} layers" for t in study.transfers),
        *(_target(target, done) for target in dict.fromkeys(s.target for s in specs)),
        f"Scale `{study.scale.name}`, cutting the paper's protocol: {'; '.join(study.scale.cuts())}",
        f"Seeds {', '.join(map(str, study.seeds))} of the runs (a backbone is pretrained once, with seed 0)",
        "± is one standard error: over seeds where there are several, else over the test users of the run",
        "Adam without decay or warm-up; validation HR@10 chooses the epoch; the test split is read once",
        f"Every item is ranked. Protocol `{MAIN}`: the user's history is left out, the target too where it "
        "stands in it. The CSV also holds `default`, which never leaves out the target",
        f"Learning rates: {_rates(specs)}",
        f"{len(done)} of {len(specs)} runs done, {sum(r.wall for r in done) / 60:.0f} minutes in all",
        *_pretraining(done),
        *dict.fromkeys(", ".join(f"{k} {v}" for k, v in r.versions.items()) for r in done),
    ]
    return "\n".join(f"- {line}" for line in lines)


def _target(target: str, done: Sequence[RunResult]) -> str:
    sizes = [(r.users, r.items) for r in done if r.spec.target == target and r.spec.target_share == 1]
    users, items = max(sizes, default=(0, 0))
    return f"Target {target} as used: {users:,} users, {items:,} items"


def _rates(specs: Sequence[RunSpec]) -> str:
    found: dict[str, set[float]] = {}
    for spec in specs:
        found.setdefault(f"{spec.method} ({spec.modality})", set()).add(spec.learning_rate)
    return ", ".join(f"{k} {'/'.join(f'{r:g}' for r in sorted(v))}" for k, v in sorted(found.items()))


def _pretraining(done: Sequence[RunResult]) -> list[str]:
    """A line a backbone: what it was trained on, for how long, how well."""
    lines = []
    for result in done:
        spec, p = result.spec, result.pretraining
        if p.get("share"):
            how = "end to end" if p["end_to_end"] else "on frozen encoder outputs"
            lines.append(
                f"Backbone ({spec.modality}, {spec.objective}, {spec.source_share:.0%} of the sources): "
                f"{p['users']:,} users, {p['items']:,} items, {how}, {p['epochs']} epochs in "
                f"{p['seconds']:.0f} s, validation HR@10 {p['validation_hr10']:.4f}"
            )
    return list(dict.fromkeys(lines))
