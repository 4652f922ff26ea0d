"""The training loop: one for adapters and for pretraining. What is trained is a dict of named tensors."""

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn

from app.model.encode import SequenceModel, device_of
from app.model.losses import in_batch_softmax, sasrec_bce
from training import distributed
from training.dataset import Batch, Corpus, epoch_batches, steps_per_epoch
from training.evaluate import choose_prior, evaluate_model
from training.metrics import Metrics
from training.towers import Tower

SEEDED = threading.Lock()
"""Held from where torch is seeded to where it has drawn: jobs that train side by side draw as each alone."""


class FitConfig(BaseModel):
    """Knobs of one run; the defaults are those of a channel adapter on a small encoder."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    objective: Literal["in_batch", "sasrec", "cpc"] = "in_batch"
    learning_rate: float = Field(1e-3, gt=0, le=1)
    item_learning_rate: float | None = Field(
        None, gt=0, le=1, description="the item encoder's own, where it is to differ"
    )
    residual_learning_rate: float = Field(1e-3, gt=0, le=1, description="of item_residual's vectors")
    log_q: float = Field(
        0.0, ge=0, le=1, description="strength of the logQ correction; 0 leaves popularity to the prior"
    )
    negative_pool: int | None = Field(
        None,
        ge=1,
        description="sasrec and cpc: draw a step's negatives from this many items; unset: from all",
    )
    warmup_steps: int = Field(0, ge=0, description="first steps, in which the learning rates rise to full")
    decay: bool = Field(
        False, description="let the learning rates fall in a straight line, to a twentieth by `max_epochs`"
    )
    batch_users: int = Field(32, ge=1, le=4096, description="users a step; a job chooses it by the data")
    max_epochs: int = Field(20, ge=1, le=1000)
    patience: int = Field(3, ge=1, description="epochs without a better validation result before stopping")
    max_seconds: float = Field(3600, gt=0, description="stop after this time and keep the best epoch")
    eval_users: int | None = Field(None, ge=1, description="validate on a fixed sample of users")
    checkpoint_seconds: float = Field(20, ge=0)
    seed: int = 0


@dataclass
class FitState:
    """Where a run stands: all that is needed, beside the tensors, to go on from here."""

    epoch: int = 0
    step: int = 0  # within the epoch
    best: tuple[float, float] = (-1.0, -1.0)  # validation HR@10, then NDCG@10 where HR@10 ties
    bad_epochs: int = 0
    seconds: float = 0.0
    curve: list[dict[str, float]] = field(default_factory=list)
    losses: list[float] = field(default_factory=list)  # of the running epoch


@dataclass(frozen=True)
class StepReport:
    """One step, for whoever watches."""

    epoch: int
    step: int
    steps: int
    loss: float
    seconds: float
    curve: Sequence[dict[str, float]]
    items_per_second: float  # distinct contents through the item encoder, forward and back
    max_epochs: int
    warming_up: bool = False


class Checkpoints(Protocol):
    """Where an interrupted run finds itself again."""

    def load(self) -> tuple[FitState, dict[str, Tensor]] | None:
        """The latest checkpoint, if any."""

    def save(self, state: FitState, tensors: dict[str, Tensor]) -> None:
        """Replace the latest checkpoint, whole or not at all."""


OnStep = Callable[[StepReport], None]


class Pace:
    """Contents encoded in steps, and the seconds that the steps took: validations do not count."""

    def __init__(self) -> None:
        self.items, self.seconds, self._begun = 0, 0.0, 0.0

    def begin(self) -> None:
        """A step begins."""
        self._begun = time.monotonic()

    def end(self) -> None:
        """It has ended."""
        self.seconds += time.monotonic() - self._begun

    @property
    def per_second(self) -> float:
        """Contents a second; 0 before the first step."""
        return self.items / self.seconds if self.seconds else 0.0


class Run:
    """A model, what is trainable of it, and the data; `fit` takes it from its checkpoint to the end."""

    def __init__(
        self,
        model: SequenceModel,
        trainable: dict[str, nn.Parameter],
        corpus: Corpus,
        tower: Tower,
        config: FitConfig,
        rates: dict[str, float] | None = None,
    ) -> None:
        """`rates` gives some names a learning rate of their own."""
        self.model, self.trainable, self.corpus, self.tower = model, trainable, corpus, tower
        self.config, self.state = config, FitState()
        self.optimizer = torch.optim.Adam(
            [{"params": [p], "lr": (rates or {}).get(k, config.learning_rate)} for k, p in trainable.items()],
            foreach=False,
            fused=True,
        )
        self.full_rates = [group["lr"] for group in self.optimizer.param_groups]
        self.best = self._weights()
        self._pace = Pace()
        found = model.residual
        self.residual_rows = found.find(corpus.item_ids) if found else np.empty(0, np.int64)
        self.log_q = config.log_q * _log_share(corpus).to(device_of(model))

    def fit(self, on_step: OnStep | None = None, checkpoints: Checkpoints | None = None) -> FitState:
        """Train until patience, epochs or time run out; the model ends with the best epoch's weights."""
        if checkpoints and (found := checkpoints.load()):
            self._restore(*found)
        started, saved = time.monotonic() - self.state.seconds, time.monotonic()
        while not self._finished():
            for number, batch in enumerate(self._batches()):
                if number < self.state.step:
                    continue  # done before the interruption
                self.step(batch, number)
                (self.state.seconds,) = distributed.agreed(time.monotonic() - started)
                if on_step:
                    on_step(self._report())
                if checkpoints and time.monotonic() - saved > self.config.checkpoint_seconds:
                    checkpoints.save(self.state, self._snapshot())
                    saved = time.monotonic()
                if self.state.seconds > self.config.max_seconds:
                    break
            self._end_epoch()
            if checkpoints:
                checkpoints.save(self.state, self._snapshot())
                saved = time.monotonic()
        self._load(self.best)
        self.model.eval()
        return self.state

    def validate(self) -> Metrics:
        """Validation metrics with the present weights, the popularity prior chosen anew."""
        self.model.eval()
        vectors = self.tower.catalogue()
        if self.model.prior is not None:
            choose_prior(self.model, self.corpus, vectors)
        return evaluate_model(self.model, self.corpus, "validation", vectors, self.config.eval_users).overall

    def _finished(self) -> bool:
        s, c = self.state, self.config
        return s.epoch >= c.max_epochs or s.bad_epochs >= c.patience or s.seconds > c.max_seconds

    def _batches(self) -> Any:
        batches = epoch_batches(self.corpus, self.config.batch_users, self.config.seed, self.state.epoch)
        return distributed.mine(batches)

    def step(self, batch: Batch, number: int) -> None:
        """Train on one batch, the epoch's `number`-th."""
        self.model.train()
        self.model.item_encoder.eval()  # no dropout below the DTL: frozen layers stay exact and cacheable
        self._pace.begin()
        with SEEDED:
            # By position, so a resumed run draws what the interrupted one would have drawn.
            torch.manual_seed(self.config.seed * 1_000_003 + self.state.epoch * 10_007 + number)
            loss = self.loss(batch)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        distributed.average([p.grad for p in self.trainable.values()])
        self._set_rates(number)
        self.optimizer.step()
        self.state.step = number + 1
        self.state.losses.append(float(loss.detach()))
        self._pace.end()

    def _set_rates(self, number: int) -> None:
        """By position alone, so that a resumed run goes on where it was."""
        c, steps = self.config, self._steps()
        done = self.state.epoch * steps + number
        share = min(1.0, (done + 1) / c.warmup_steps) if c.warmup_steps else 1.0
        if c.decay:
            share *= max(0.05, 1 - done / (c.max_epochs * steps))
        for group, full in zip(self.optimizer.param_groups, self.full_rates, strict=True):
            group["lr"] = full * share

    def _steps(self) -> int:
        return steps_per_epoch(self.corpus, self.config.batch_users) // distributed.processes()

    def loss(self, batch: Batch) -> Tensor:
        """The objective on one batch, with gradients."""
        device = device_of(self.model)
        rows, target, real = (torch.from_numpy(a).to(device) for a in (batch.rows, batch.target, batch.real))
        if self.config.objective != "in_batch":
            return self._bce_loss(batch, rows, target, real)
        items = self._items(batch.items)  # (N, d)
        states = self.model.users(items[rows], real)[real]  # (P, d)
        user = torch.arange(len(rows), device=device).unsqueeze(1).expand_as(real)[real]  # (P,)
        own = torch.zeros(len(rows), len(items), dtype=torch.bool, device=device)  # (B, N)
        own[user, rows[real]] = own[user, target[real]] = True
        log_q = self.log_q[torch.from_numpy(batch.items).to(device)]
        return in_batch_softmax(states, items, target[real], log_q, own[user])

    def _items(self, items: NDArray[np.int64]) -> Tensor:
        """Item rows (N,) -> their vectors (N, d), each distinct content encoded once."""
        contents, of_item = np.unique(self.corpus.contents.of_item[items], return_inverse=True)
        self._pace.items += len(contents)
        device = device_of(self.model)
        vectors = self.tower(contents)[torch.from_numpy(of_item).to(device)]
        if self.model.residual is None:
            return vectors
        rows = torch.from_numpy(self.residual_rows[items]).to(device)
        own = self.model.residual.vectors[rows.clamp_min(0)]
        return vectors + own * (rows >= 0).unsqueeze(1)

    def _bce_loss(self, batch: Batch, rows: Tensor, target: Tensor, real: Tensor) -> Tensor:
        """SASRec's loss at every real position; CPC's at the last one only, one target and one negative."""
        negative = self.negatives(batch)
        predicts = real.clone()
        if self.config.objective == "cpc":
            predicts[:, :-1] = False
        drawn = negative[predicts.cpu().numpy()]  # (P,)
        vectors = self._items(np.concatenate([batch.items, drawn]))
        items, negatives = vectors[: len(batch.items)], vectors[len(batch.items) :]
        states = self.model.users(items[rows], real)[predicts]  # (P, d)
        return sasrec_bce(states, items[target[predicts]], negatives)

    def negatives(self, batch: Batch) -> NDArray[np.int64]:
        """(B, L) item rows drawn uniformly from what is not in the user's own sequence.

        With a pool each is still uniform over the catalogue, but a step encodes few distinct ones.
        """
        corpus = self.corpus
        rng = np.random.default_rng([self.config.seed, self.state.epoch, self.state.step])
        negative = rng.integers(corpus.n_items, size=batch.rows.shape)
        if self.config.negative_pool:
            negative = rng.choice(
                rng.integers(corpus.n_items, size=self.config.negative_pool), batch.rows.shape
            )
        for i in range(len(negative)):
            mine = batch.items[np.append(batch.rows[i], batch.target[i, -1:])[-(batch.real[i].sum() + 1) :]]
            while (clash := np.isin(negative[i], mine)).any() and len(mine) < corpus.n_items:
                negative[i, clash] = rng.integers(corpus.n_items, size=int(clash.sum()))
        return negative

    def _end_epoch(self) -> None:
        found, s = self.validate(), self.state
        hr10, ndcg10 = distributed.agreed(found.hr10, found.ndcg10)
        s.curve.append(
            {
                "epoch": s.epoch,
                "loss": float(np.mean(s.losses)),
                "hr10": hr10,
                "ndcg10": ndcg10,
                "seconds": round(s.seconds, 1),
            }
        )
        figures = (hr10, ndcg10)
        better = figures > tuple(s.best)  # a list, when it comes from a checkpoint's JSON
        s.bad_epochs = 0 if better else s.bad_epochs + 1
        if better:
            s.best, self.best = figures, self._weights()
        s.epoch, s.step, s.losses = s.epoch + 1, 0, []

    def _report(self) -> StepReport:
        s = self.state
        steps = self._steps()
        pace, epochs = self._pace.per_second, self.config.max_epochs
        return StepReport(s.epoch, s.step, steps, s.losses[-1], s.seconds, s.curve, pace, epochs)

    def _weights(self) -> dict[str, Tensor]:
        return {k: p.detach().cpu().clone() for k, p in self.trainable.items()}

    def _load(self, weights: dict[str, Tensor]) -> None:
        with torch.no_grad():
            for name, parameter in self.trainable.items():
                parameter.copy_(weights[name])

    def _snapshot(self) -> dict[str, Tensor]:
        """Weights, best weights and Adam's moments under one flat naming."""
        tensors = {f"now/{k}": v for k, v in self._weights().items()}
        tensors |= {f"best/{k}": v for k, v in self.best.items()}
        for name, parameter in self.trainable.items():
            tensors |= {
                f"adam/{k}/{name}": v.cpu().clone() for k, v in self.optimizer.state[parameter].items()
            }
        return tensors

    def _restore(self, state: FitState, tensors: dict[str, Tensor]) -> None:
        self.state = state
        self._load({k[4:]: v for k, v in tensors.items() if k.startswith("now/")})
        self.best = {k[5:]: v for k, v in tensors.items() if k.startswith("best/")}
        for name, parameter in self.trainable.items():
            self.optimizer.state[parameter] = {
                k: tensors[f"adam/{k}/{name}"].to(parameter.device)  # fused Adam keeps its step there too
                for k in ("step", "exp_avg", "exp_avg_sq")
                if f"adam/{k}/{name}" in tensors
            }


def _log_share(corpus: Corpus) -> Tensor:
    """(N,) log of each item's share of the training interactions: the q_i of the logQ correction."""
    counts = torch.from_numpy(corpus.train_counts()).double().clamp_min(1)
    return (counts / counts.sum()).log().float()
