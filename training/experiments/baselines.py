"""Popularity, Markov chain and item-kNN on each target, measured once and kept beside the runs."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from training.baselines import baselines
from training.experiments.results import Figures, write_whole
from training.experiments.runs import Bench
from training.experiments.spec import RunSpec
from training.experiments.summary import MAIN


def measure_baselines(specs: Sequence[RunSpec], bench: Bench, folder: Path) -> dict[str, dict[str, Figures]]:
    """Target -> baseline -> test figures by the main protocol; targets whole, as the scale cuts them."""
    whole = {spec.target: spec.model_copy(update={"target_share": 1.0}) for spec in specs}
    return {target: _of_target(spec, bench, folder) for target, spec in whole.items()}


def _of_target(spec: RunSpec, bench: Bench, folder: Path) -> dict[str, Figures]:
    cut = json.dumps([spec.target, asdict(bench.scale.target), MAIN])
    path = folder / f"{hashlib.sha256(cut.encode()).hexdigest()[:16]}.json"
    if not path.is_file():
        found = {k: e.as_dict() for k, e in baselines(bench.corpus(spec), "test", MAIN).items()}
        write_whole(path, json.dumps({"target": spec.target, "protocol": MAIN, "test": found}, indent=1))
    known: dict[str, Figures] = json.loads(path.read_text())["test"]
    return known
