"""Executes runs: fetches the backbone, trains, evaluates, writes the result; what is there is skipped."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, get_args

import numpy as np
import torch
from numpy.typing import NDArray

from app.model.adapters import sites
from app.model.encode import SequenceModel
from app.model.methods import METHODS, AdapterConfig, published
from app.model.transrec import TransRec
from training.dataset import Corpus, Stage
from training.evaluate import RankingProtocol, evaluate_model
from training.experiments.backbones import Backbones
from training.experiments.data import cut, read
from training.experiments.environment import versions
from training.experiments.results import Figures, Results, RunResult
from training.experiments.scales import ID_EPOCHS, Scale, budget
from training.experiments.spec import RunSpec
from training.finetune import Subject, TrainingConfig, finetune, subject
from training.fit import FitConfig, FitState, StepReport
from training.idrec import train_idrec

PROTOCOLS: tuple[RankingProtocol, ...] = get_args(RankingProtocol)
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
    """A trained model of any kind, the corpus as it sees it, its item vectors, its curve and its size."""

    model: SequenceModel
    corpus: Corpus
    vectors: NDArray[np.float32]
    state: FitState
    trainable: int
    full: int

    def evaluate(self, stage: Stage, protocol: RankingProtocol = "default") -> Figures:
        """Rank the whole catalogue for every user."""
        return evaluate_model(self.model, self.corpus, stage, self.vectors, protocol=protocol).as_dict()


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
        on = None if spec.method == "idrec" else self.subject(spec)
        started = time.monotonic()
        outcome = self._finetune(on, spec) if on else self._idrec(spec)
        return RunResult(
            spec=spec,
            status="done",
            budget=budget(self.scale),
            validation=outcome.evaluate("validation"),
            test={protocol: outcome.evaluate("test", protocol) for protocol in PROTOCOLS},
            trainable=outcome.trainable,
            full=outcome.full,
            users=len(outcome.corpus.windows),
            items=outcome.corpus.n_items,
            epochs=outcome.state.epoch,
            seconds=round(outcome.state.seconds, 1),
            wall=round(time.monotonic() - started, 1),
            curve=outcome.state.curve,
            pretraining=self.backbones.record(spec) if on else {},
            versions=versions(self.device.type),
        )

    def corpus(self, spec: RunSpec) -> Corpus:
        """The run's target, cut to the scale."""
        wanted = (spec.target, spec.target_share)
        if self._corpus is None or self._corpus[0] != wanted:
            target = read(spec.target, self.data)
            self._corpus = wanted, cut(target, self.scale.target, spec.target_share, MIN_USERS)
        return self._corpus[1]

    def subject(self, spec: RunSpec) -> Subject:
        """That target on the run's backbone, which is pretrained first where it isn't there."""
        backbone = self.backbones.get(spec)
        wanted = (backbone.fingerprint, spec.target, spec.target_share)
        if self._subject is None or self._subject[0] != wanted:
            self._subject = wanted, subject(backbone, self.corpus(spec))
        return self._subject[1]

    def _finetune(self, on: Subject, spec: RunSpec) -> Outcome:
        adapter = adapter_config(self.scale, spec)
        config = TrainingConfig(adapter=adapter, fit=fit_config(self.scale, spec), warmup_epochs=0)
        trained = finetune(on, config, self.watch.step)
        trainable = sum(w.numel() for w in trained.weights.values())
        size = trainable, full_size(on.backbone.model)
        return Outcome(trained.model, on.corpus, trained.vectors, trained.state, *size)

    def _idrec(self, spec: RunSpec) -> Outcome:
        epochs = max(self.scale.epochs, ID_EPOCHS)
        fit = fit_config(self.scale, spec).model_copy(update={"max_epochs": epochs})
        trained = train_idrec(self.corpus(spec), fit, device=self.device, on_step=self.watch.step)
        size = sum(p.numel() for p in trained.model.parameters())
        return Outcome(trained.model, trained.corpus, trained.vectors, trained.state, size, size)


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


def adapter_config(scale: Scale, spec: RunSpec) -> AdapterConfig:
    """The method as published, in the top layers only where the scale says so and the method can."""
    options = dict(spec.options)
    if scale.top_layers is not None and "top_layers" in METHODS[spec.method].knobs:
        options.setdefault("top_layers", scale.top_layers)
    return published(spec.method, **options)


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
        negative_pool=scale.negative_pool,
        seed=spec.seed,
    )


def full_size(model: TransRec) -> int:
    """Parameters that full fine-tuning trains: all that an item's or a user's vector depends on."""
    return sum(getattr(site.module, site.attribute).numel() for site in sites(model))
