"""Fine-tuning: a channel's corpus and the frozen backbone -> the channel's adapter, evaluated."""

import math
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn

from app.core.rollout import Plan
from app.model.adapters import RULE, attach, extract, first_layer, freeze_all_but
from app.model.backbone import Backbone
from app.model.encode import Progress, device_of, encode_items
from app.model.inputs import Inputs
from app.model.methods import RECOMMENDED, AdapterConfig
from app.model.residual import VECTORS, begun
from app.model.transrec import TransRec
from training.baselines import baselines, evaluate_popularity
from training.dataset import Corpus, Stage
from training.evaluate import Evaluation, evaluate_model
from training.fit import SEEDED, Checkpoints, FitConfig, FitState, OnStep, Run
from training.towers import (
    ContentTower,
    LowerStates,
    PooledTower,
    SideTower,
    Tower,
    UpperTower,
    can_cache,
    lower_states,
    pooled_states,
    side_states,
)

# Learning rates of methods for which the common one does not do (docs/log.md).
METHOD_RATES = {"fta": 1e-4, "ftn": 1e-4, "compacter": 3e-3, "k_adapter": 5e-4}
STEPS, SMALLEST_BATCH, LARGEST_BATCH = 48, 32, 256  # steps an epoch, as far as the batch is between these


class TrainingConfig(BaseModel):
    """What a training job is asked to do; every field has a default that suits a new channel."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    adapter: AdapterConfig = RECOMMENDED
    fit: FitConfig = Field(default_factory=FitConfig)
    warmup_epochs: int = Field(
        10, ge=0, le=100, description="first epochs on cached encoder states, without the item encoder's part"
    )
    promote: bool = Field(True, description="make it champion when it passes the gate")
    as_challenger: Plan | None = Field(None, description="where `promote` holds: challenger instead")


@dataclass(frozen=True)
class Subject:
    """What is trained on and measured against: one channel on one backbone, its contents read once."""

    backbone: Backbone
    corpus: Corpus
    inputs: Inputs
    # What stays frozen is run once for all trainings on this subject; one cut at a time, for its size.
    _lower: dict[int, LowerStates] = field(default_factory=dict, repr=False, compare=False)
    _pooled: list[Tensor] = field(default_factory=list, repr=False, compare=False)
    _side: list[Tensor] = field(default_factory=list, repr=False, compare=False)

    def lower(self, first: int, on_encode: Progress | None = None) -> LowerStates:
        """The backbone's hidden states below layer `first`."""
        if first not in self._lower:
            self._lower.clear()
            self._lower[first] = lower_states(self.backbone.model, self.inputs, first, on_encode)
        return self._lower[first]

    def pooled(self, on_encode: Progress | None = None) -> Tensor:
        """(U, D) what the backbone's item encoder makes of each content."""
        if not self._pooled:
            self._pooled.append(pooled_states(self.backbone.model, self.inputs, on_encode))
        return self._pooled[0]

    def side(self, on_encode: Progress | None = None) -> Tensor:
        """(U, L + 1, D) the pooled states of the backbone's layers, for side networks."""
        if not self._side:
            self._side.append(side_states(self.backbone.model, self.inputs, on_encode))
        return self._side[0]

    def encode(self, model: TransRec, on_encode: Progress | None = None) -> NDArray[np.float32]:
        """The catalogue's distinct contents (U, d) as `model` sees them."""
        return encode_items(model, self.inputs, on_encode)

    def evaluate(self, model: TransRec, vectors: NDArray[np.float32], stage: Stage) -> Evaluation:
        """Rank the whole catalogue for every user; `vectors` are the model's own, from `encode`."""
        return evaluate_model(model, self.corpus, stage, vectors)

    def popularity(self, stage: Stage) -> Evaluation:
        """The baseline without a model."""
        return evaluate_popularity(self.corpus, stage)

    def baselines(self, stage: Stage) -> dict[str, Evaluation]:
        """Popularity, Markov and item-kNN, ranked the same way."""
        return baselines(self.corpus, stage)


def subject(backbone: Backbone, corpus: Corpus) -> Subject:
    """Prepare the corpus for the backbone."""
    return Subject(backbone, corpus, backbone.inputs(corpus.contents.distinct))


@dataclass(frozen=True)
class Trained:
    """The best epoch's weights by site name, that model, its item vectors by distinct content, the curve."""

    weights: dict[str, Tensor]
    model: TransRec
    vectors: NDArray[np.float32]
    state: FitState


def finetune(
    on: Subject,
    config: TrainingConfig,
    on_step: OnStep | None = None,
    checkpoints: Checkpoints | None = None,
    on_encode: Progress | None = None,
) -> Trained:
    """Train the adapter that `config` asks for. The backbone's own tensors are never written.

    `on_step`, and `on_encode` while a whole catalogue is encoded, are called often: what they raise ends it.
    """
    config = config.model_copy(update={"fit": _filled_in(config, len(on.corpus.windows))})
    with SEEDED:
        torch.manual_seed(config.fit.seed)  # the adapter's first weights
        model = attach(on.backbone.model, config.adapter)
    if config.adapter.item_residual:
        _begin_residual(model, on.corpus)
    freeze_all_but(model, model.adapter)
    warm = None
    if checkpoints is None or checkpoints.load() is None:
        warm = _warm_up(on, model, config, on_step, on_encode)
    tower = tower_of(on, model, config.adapter, on_encode)
    run = Run(model, model.adapter, on.corpus, tower, config.fit, _rates(model, config.fit))
    if warm:
        run.state.best = warm.best  # what follows replaces the warm-up's weights only by doing better
    state = run.fit(on_step, checkpoints)
    model.requires_grad_(False)
    if model.residual:
        model.residual = model.residual.as_stored()
    return Trained(extract(model), model, on.encode(model, on_encode), state)


def _begin_residual(model: TransRec, corpus: Corpus) -> None:
    """A row of zeros for each item that occurs in training; trained with the adapter."""
    warm = [item for item, count in zip(corpus.item_ids, corpus.train_counts(), strict=True) if count]
    vectors = nn.Parameter(torch.zeros(len(warm), model.config.dim, device=device_of(model)))
    model.residual = begun(warm, vectors)
    model.adapter[VECTORS] = vectors


def tower_of(on: Subject, model: TransRec, config: AdapterConfig, on_encode: Progress | None) -> Tower:
    """From content, or much cheaper from cached states of what stays frozen (bf16 where they are many)."""
    if config.method == "side":
        return SideTower(model, on.side(on_encode))
    if not _item_encoder_part(model):
        return PooledTower(model, on.pooled(on_encode))
    first = first_layer(on.backbone.model, config)
    if not first or not can_cache(model, on.inputs):
        return ContentTower(model, on.inputs, on_encode)
    return UpperTower(model, on.lower(first, on_encode), on.inputs, on_encode)


def _item_encoder_part(model: TransRec) -> dict[str, nn.Parameter]:
    """What of the adapter acts in the item encoder: Compacter's rule too, where that has one at all."""
    mine = {k: p for k, p in model.adapter.items() if k.startswith("item/")}
    return mine | ({RULE: model.adapter[RULE]} if mine and RULE in model.adapter else {})


def _filled_in(config: TrainingConfig, users: int) -> FitConfig:
    """The fit's config; what was not asked for goes by the method and by how many users there are.

    A larger batch has more negatives, but fewer steps an epoch: some 48 steps were best on small and on large
    channels (docs/log.md, 11). The rate grows with the square root of the batch.
    """
    fit, asked = config.fit, config.fit.model_fields_set
    if "learning_rate" not in asked and config.adapter.method in METHOD_RATES:
        fit = fit.model_copy(update={"learning_rate": METHOD_RATES[config.adapter.method]})
    if "batch_users" in asked:
        return fit
    batch = min(max(2 ** round(math.log2(users / STEPS)), SMALLEST_BATCH), LARGEST_BATCH)
    more = 1.0 if "learning_rate" in asked else (batch / SMALLEST_BATCH) ** 0.5
    return fit.model_copy(update={"batch_users": batch, "learning_rate": fit.learning_rate * more})


def _rates(model: TransRec, fit: FitConfig) -> dict[str, float]:
    """Learning rates of their own: of a residual, and of the item encoder where one is asked for."""
    rates = {VECTORS: fit.residual_learning_rate}
    if fit.item_learning_rate is not None:
        rates |= dict.fromkeys((k for k in model.adapter if k.startswith("item/")), fit.item_learning_rate)
    return rates


def _warm_up(
    on: Subject,
    model: TransRec,
    config: TrainingConfig,
    on_step: OnStep | None,
    on_encode: Progress | None,
) -> FitState | None:
    """Train what stands behind the item encoder on its cached output, a hundred times cheaper a step.

    The item encoder's adapters are still near the identity, so its output hardly differs from the
    backbone's. It has no checkpoint of its own: a job that is killed here starts it again.
    """
    behind = {k: p for k, p in model.adapter.items() if k not in _item_encoder_part(model)}
    if config.adapter.method == "side":
        return None  # its own steps are as cheap
    if not config.warmup_epochs or not any(p is not model.prior for p in behind.values()):
        return None
    # Learned tokens are read from the first step on, so a prompted encoder has states of its own.
    pooled = pooled_states(model, on.inputs, on_encode) if model.prompt_tokens else on.pooled(on_encode)
    tower = PooledTower(model, pooled)
    fit = config.fit.model_copy(update={"max_epochs": config.warmup_epochs})
    told = on_step and (lambda step: on_step(replace(step, warming_up=True)))
    return Run(model, behind, on.corpus, tower, fit, _rates(model, fit)).fit(told)
