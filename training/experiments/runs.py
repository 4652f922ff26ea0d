"""Executes runs: fetches the backbone, trains, evaluates, writes the result; what is there is skipped."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from app.model.methods import published
from numpy.typing import NDArray

from app.model.adapters import sites
from app.model.transrec import TransRec
from training.dataset import Corpus
from training.evaluate import PROTOCOLS, evaluate_model
from training.experiments.backbones import Backbones
from training.experiments.data import as_ids, cut, read
from training.experiments.environment import versions
from training.experiments.idrec import train_idrec
from training.experiments.results import Figures, Results, RunResult
from training.experiments.scales import Scale, budget
from training.experiments.spec import RunSpec
from training.finetune import Subject, TrainingConfig, finetune, subject
from training.fit import FitConfig, FitState, StepReport

MIN_USERS = 10  # a small share of a small target is still a point of a figure


class Watch(Protocol):
    """Whoever looks on."""

    def say(self, line: str) -> None:
        """A line to keep."""

    def run_starts(self, number: int, of: int, spec: RunSpec) -> None:
        """Run `number`, from 0, of those to be done begins."""

    def run_ends(self, result: RunResult) -> None:
        """It ended, well or badly."""

    def step(self, report: StepReport) -> None:
        """A step of its training."""


@dataclass(frozen=True)
class Outcome:
    """A trained model of any kind, its item vectors by distinct content, its curve and its size."""

    model: TransRec
    vectors: NDArray[np.float32]
    state: FitState
    trainable: int
    full: int


class Bench:
    """Where runs are done: data, scale and device, with the last target kept in memory."""

    def __init__(
        self, scale: Scale, data: Path | None, out: Path, device: torch.device, watch: Watch
    ) -> None:
        self.scale, self.data, self.device, self.watch = scale, data, device, watch
        self.backbones = Backbones(out / "backbones", data, scale, device, watch.say, watch.step)
        self._corpus: tuple[tuple[str, float], Corpus] | None = None
        self._subject: tuple[tuple[str, str, float], Subject] | None = None

    def run(self, spec: RunSpec) -> RunResult:
        """Train and evaluate; validation chose the epoch, the test split is read here, once."""
        started, corpus = time.monotonic(), self.corpus(spec)
        if spec.method == "idrec":
            corpus = as_ids(corpus)
            outcome = self._idrec(corpus, spec)
        else:
            outcome = self._finetune(spec)
        return RunResult(
            spec=spec,
            status="done",
            budget=budget(self.scale),
            validation=self._evaluate(outcome, corpus, "validation", "default"),
            test={p: self._evaluate(outcome, corpus, "test", p) for p in PROTOCOLS},
            trainable=outcome.trainable,
            full=outcome.full,
            users=len(corpus.windows),
            items=corpus.n_items,
            epochs=outcome.state.epoch,
            seconds=round(outcome.state.seconds, 1),
            wall=round(time.monotonic() - started, 1),
            curve=outcome.state.curve,
            pretraining={} if spec.method == "idrec" else self.backbones.record(spec),
            versions=versions(self.device.type),
        )

    def corpus(self, spec: RunSpec) -> Corpus:
        """The run's target, cut to the scale."""
        wanted = (spec.target, spec.target_share)
        if self._corpus is None or self._corpus[0] != wanted:
            target = read(spec.target, self.data)
            self._corpus = wanted, cut(target, self.scale.target_users, spec.target_share, MIN_USERS)
        return self._corpus[1]

    def _finetune(self, spec: RunSpec) -> Outcome:
        backbone = self.backbones.get(spec)
        wanted = (backbone.fingerprint, spec.target, spec.target_share)
        if self._subject is None or self._subject[0] != wanted:
            self._subject = wanted, subject(backbone, self.corpus(spec))
        adapter = published(spec.method, **spec.options)
        config = TrainingConfig(adapter=adapter, fit=fit_config(self.scale, spec), warmup_epochs=0)
        trained = finetune(self._subject[1], config, self.watch.step)
        trainable = sum(w.numel() for w in trained.weights.values())
        return Outcome(trained.model, trained.vectors, trained.state, trainable, full_size(backbone.model))

    def _idrec(self, corpus: Corpus, spec: RunSpec) -> Outcome:
        fit = fit_config(self.scale, spec)
        model, vectors, state, trainable = train_idrec(corpus, fit, self.device, self.watch.step)
        return Outcome(model, vectors, state, trainable, trainable)

    def _evaluate(self, outcome: Outcome, corpus: Corpus, stage: Any, protocol: Any) -> Figures:
        found = evaluate_model(outcome.model, corpus, stage, outcome.vectors, protocol=protocol)
        return found.as_dict()


def execute(specs: Sequence[RunSpec], bench: Bench, results: Results) -> list[RunResult]:
    """Do the runs that are not there; returns those that failed. They are tried again by the next call."""
    known = budget(bench.scale)
    todo, failed = [s for s in specs if not results.done(s, known)], []
    for number, spec in enumerate(todo):
        bench.watch.run_starts(number, len(todo), spec)
        try:
            result = bench.run(spec)
        except Exception as error:  # one bad run must not end the night's others
            result = RunResult(
                spec=spec, status="failed", error=f"{type(error).__name__}: {error}", budget=known
            )
            failed.append(result)
        results.write(result)
        bench.watch.run_ends(result)
    return failed


def fit_config(scale: Scale, spec: RunSpec) -> FitConfig:
    """The scale's figures as a `FitConfig`."""
    return FitConfig(
        objective=spec.objective,
        learning_rate=spec.learning_rate,
        batch_users=scale.batch_users,
        max_epochs=scale.epochs,
        max_seconds=scale.seconds,
        patience=scale.patience,
        eval_users=scale.eval_users,
        seed=spec.seed,
    )


def full_size(model: TransRec) -> int:
    """Parameters that full fine-tuning trains: all that an item's or a user's vector depends on."""
    return sum(getattr(site.module, site.attribute).numel() for site in sites(model))
