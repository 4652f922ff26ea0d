"""Encodings, tokens, seconds and peak memory a step and an epoch: the reference beside our ways.

python -m tests.benchmarks.train amazon_scientific pastry --data DIR [--rounds 5] [--accuracy]

A name is a source in DIR or a retail department. All are timed in turns, in one process: what disturbs one
disturbs all. With --accuracy each of our ways is trained to its end as well.
"""

import argparse
import statistics
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

from app.model.adapters import attach, freeze_all_but
from app.model.backbone import load_backbone
from app.model.device import pick_device
from app.model.methods import AdapterConfig
from tests.benchmarks.quality import Printer, corpus_of
from tests.benchmarks.train.memory import peak_of
from tests.benchmarks.train.reference import Reference
from tests.benchmarks.train.ways import METHODS, Way, matrix_rate, ways
from training.dataset import Batch, epoch_batches, steps_per_epoch
from training.finetune import Subject, TrainingConfig, finetune, subject

HEAD = (
    "| way | encodings a step | tokens a step | s a step: median (min to max) | ratio | s an epoch | ratio "
    "| peak MB a step | GFLOP a step | of the matrix rate |\n|---|---|---|---|---|---|---|---|---|---|"
)
REFERENCE = "reference"


class Timed:
    """What was measured of one way."""

    def __init__(self) -> None:
        self.seconds: list[float] = []
        self.encodings = self.tokens = self.peak = self.flops = 0
        self.end = 0.0  # seconds at an epoch's end: the catalogue, the ranking

    def row(self, name: str, steps: int, reference: "Timed", rate: float) -> str:
        """One line of the Markdown table."""
        median = statistics.median(self.seconds)
        theirs = statistics.median(reference.seconds)
        epoch, their_epoch = steps * median + self.end, steps * theirs + reference.end
        cells = [
            name,
            f"{self.encodings:,}",
            f"{self.tokens:,}",
            f"{median:.4g} ({min(self.seconds):.4g} to {max(self.seconds):.4g})",
            f"{theirs / median:.1f}",
            f"{epoch:,.0f}",
            f"{their_epoch / epoch:.1f}",
            f"{self.peak / 1e6:,.0f}",
            f"{self.flops / 1e9:,.1f}",
            f"{self.flops / median / rate:.0%}",
        ]
        return f"| {' | '.join(cells)} |"


def measure(on: Subject, batch_users: int, rounds: int) -> None:
    """Print one channel's table."""
    device = on.backbone.model.dtl.weight.device
    batches = list(epoch_batches(on.corpus, batch_users, 0, 0))[: rounds + 1]
    print(f"{on.corpus.name}: our ways' caches, a first step of each", flush=True)
    ours = {name: make() for name, make in ways(on, batch_users).items()}
    reference = _reference(on)
    found = {name: Timed() for name in (REFERENCE, *ours)}
    negatives = [_negatives(on, batch, seed) for seed, batch in enumerate(batches)]
    reference_counts(found[REFERENCE], on, batches[1])
    for number, batch in enumerate(batches):
        first = number == 0
        _once(found[REFERENCE], lambda b=batch, n=negatives[number]: reference.step(b, n), first)
        for name, each in ours.items():
            each.tower.encodings = each.tower.tokens = 0
            _once(found[name], lambda b=batch, w=each: w.step(b), first)
        print(f"  round {number} of {rounds}", flush=True)
    _ends(found, reference, ours)
    rate, steps = matrix_rate(device), steps_per_epoch(on.corpus, batch_users)
    print(f"\n{on.corpus.name}: {steps} steps of {batch_users} users an epoch; {rate / 1e9:,.0f} GFLOP/s\n")
    print(HEAD)
    for name, timed in found.items():
        print(timed.row(name, steps, found[REFERENCE], rate), flush=True)


def _reference(on: Subject) -> Reference:
    torch.manual_seed(0)
    model = attach(on.backbone.model, AdapterConfig())
    freeze_all_but(model, model.adapter)
    return Reference(on, model)


def _negatives(on: Subject, batch: Batch, seed: int) -> Any:
    return np.random.default_rng(seed).integers(on.corpus.n_items, size=batch.rows.shape)


def reference_counts(timed: Timed, on: Subject, batch: Batch) -> None:
    """What the reference encodes a step: by its definition."""
    users, length = batch.rows.shape
    timed.encodings = users * 2 * (length + 1)
    timed.tokens = timed.encodings * (on.backbone.model.config.max_tokens + 2)


def _once(timed: Timed, step: Any, first: bool) -> None:
    """The first step is for counting: operations, then memory; the others for the clock."""
    if first:
        with FlopCounterMode(display=False) as counter:
            step()
        timed.flops = counter.get_total_flops()
        timed.peak = peak_of(step)
        return
    started = time.perf_counter()
    step()
    timed.seconds.append(time.perf_counter() - started)


def _ends(found: dict[str, Timed], reference: Reference, ours: dict[str, Way]) -> None:
    print("  an epoch's end of each", flush=True)
    found[REFERENCE].end = _seconds(lambda: list(reference.epoch_end()))
    for name, each in ours.items():
        found[name].end = _seconds(each.run.validate)
        found[name].encodings, found[name].tokens = each.tower.encodings, each.tower.tokens


def _seconds(what: Any) -> float:
    started = time.perf_counter()
    what()
    return time.perf_counter() - started


def accuracy(on: Subject) -> None:
    """Print validation HR@10 by epoch and second of our ways, trained as a job is, and the test split's."""
    print(f"\n{on.corpus.name}\n\n| way | validation HR@10 by epoch (seconds) | test HR@10 | NDCG@10 | s |")
    print("|---|---|---|---|---|")
    for name, adapter in METHODS.items():
        started = time.perf_counter()
        trained = finetune(on, TrainingConfig.model_validate({"adapter": adapter}), Printer())
        seconds = time.perf_counter() - started
        curve = ", ".join(f"{p['hr10']:.4f} ({p['seconds']:.0f})" for p in trained.state.curve)
        test = on.evaluate(trained.model, trained.vectors, "test").overall
        figures = f"{test.hr10:.4f} ± {test.hr10_se:.4f} | {test.ndcg10:.4f} ± {test.ndcg10_se:.4f}"
        print(f"| {name} | {curve} | {figures} | {seconds:.0f} |", flush=True)


def main() -> None:
    """Parse, load once, measure channel by channel."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("channels", nargs="+")
    parser.add_argument("--data", type=Path)
    parser.add_argument("--backbone", default="minilm-transrec")
    parser.add_argument("--batch-users", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--accuracy", action="store_true")
    args = parser.parse_args()
    backbone = load_backbone(args.backbone, pick_device())
    for name in args.channels:
        on = subject(backbone, corpus_of(name, args.data, backbone.model.config.length))
        if args.accuracy:
            accuracy(on)
        else:
            measure(on, args.batch_users, args.rounds)


if __name__ == "__main__":
    main()
