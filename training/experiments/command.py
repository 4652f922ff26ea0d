"""`transrec experiment`: from what was asked to reports on disk."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from transformers.utils.logging import disable_progress_bar

from app.core.errors import Invalid
from app.model.device import pick_device
from training.experiments.baselines import measure_baselines
from training.experiments.data import modality_of
from training.experiments.encoders import layers_of
from training.experiments.plan import EXPERIMENTS, runs
from training.experiments.plots import need_matplotlib, plot
from training.experiments.rates import with_overrides
from training.experiments.report import write_report
from training.experiments.results import Results
from training.experiments.runs import Bench, Watch, execute
from training.experiments.scales import budget, find_scale
from training.experiments.spec import Modality
from training.experiments.study import Study, Transfer
from training.experiments.summary import cells

ALL = "all"


@dataclass(frozen=True)
class Asked:
    """The command's arguments. `seeds` empty: those of the scale. `encoders` are by modality."""

    experiment: str
    sources: Sequence[str]
    targets: Sequence[str]
    scale: str
    out: Path
    encoders: dict[Modality, str]
    data: Path | None = None
    seeds: Sequence[int] = ()
    rates: Sequence[str] = ()


def run(asked: Asked, watch: Watch) -> list[Path]:
    """Do what is missing, then write the reports; returns their paths.

    Raises `Invalid` for a wrong argument, and at the end where runs failed.
    """
    names = chosen(asked.experiment)
    disable_progress_bar()  # type: ignore[no-untyped-call] # of transformers: ours is drawn already
    need_matplotlib()  # now, not after hours of runs
    study = study_of(asked)
    plans = {name: EXPERIMENTS[name](study) for name in names}
    places = [point for points in plans.values() for point in points]
    specs, results = runs(places), Results(asked.out / "runs")
    bench = Bench(study.scale, asked.data, asked.out, pick_device(), watch)
    watch.say(f"{', '.join(names)}: {len(specs)} distinct runs for {len(places)} places")
    baselines = measure_baselines(specs, bench, asked.out / "baselines")
    try:
        failed = execute(specs, bench, results)
    finally:  # after Ctrl-C too: a report of what there is
        known, paths = results.read_all(specs, budget(study.scale)), list[Path]()
        for name, points in plans.items():
            paths.append(write_report(name, study, points, known, baselines, asked.out))
            plot(name, points, cells(points, known), asked.out)
    if failed:
        raise Invalid(
            f"{len(failed)} of {len(specs)} runs failed, first '{failed[0].spec.title}': {failed[0].error}. "
            "The reports name them; the same command tries them again."
        )
    return paths


def chosen(experiment: str) -> list[str]:
    """One experiment, or all; raises `Invalid` naming the possible ones."""
    if experiment == ALL:
        return list(EXPERIMENTS)
    if experiment not in EXPERIMENTS:
        raise Invalid(f"Unknown experiment '{experiment}'. Choose one of: {', '.join(EXPERIMENTS)}, {ALL}.")
    return [experiment]


def study_of(asked: Asked) -> Study:
    """Sources and targets by modality; raises `Invalid` where a modality has only one of the two."""
    scale, transfers = find_scale(asked.scale), list[Transfer]()
    for modality in asked.encoders:
        sources = tuple(n for n in asked.sources if modality_of(n, asked.data) == modality)
        targets = tuple(n for n in asked.targets if modality_of(n, asked.data) == modality)
        if bool(sources) != bool(targets):
            given, lacking = ("source", "target") if sources else ("target", "source")
            raise Invalid(
                f"There is a {given} of {modality}s ({', '.join(sources or targets)}) but no {lacking}. "
                f"Name one, or leave {modality}s out."
            )
        if sources:
            encoder = asked.encoders[modality]
            transfers.append(Transfer(modality, encoder, layers_of(encoder, asked.out), sources, targets))
    if not transfers:
        raise Invalid("Nothing to transfer: name at least one source and one target.")
    seeds = tuple(asked.seeds) or scale.grid.seeds
    return Study(tuple(transfers), scale, seeds, with_overrides(asked.rates))


def seeds_of(text: str) -> tuple[int, ...]:
    """`0,1,2` -> seeds; nothing for an empty text. Raises `Invalid`."""
    parts = [part.strip() for part in text.split(",") if part.strip()]
    if not all(part.isdecimal() for part in parts):
        raise Invalid(f"Seeds are whole numbers split by commas, for example 0,1,2; got '{text}'.")
    return tuple(map(int, parts))
