"""Fine-tuning: a channel's corpus and the frozen backbone -> the channel's adapter, evaluated."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn

from app.model.adapters import AdapterConfig, attach, extract, freeze_all_but, tensors
from app.model.backbone import Backbone
from app.model.encode import Progress, encode_items
from app.model.inputs import TokenTable, tokenize
from app.model.transrec import TransRec
from training.baselines import evaluate_popularity
from training.dataset import Corpus, Stage
from training.evaluate import Evaluation, evaluate_model
from training.fit import Checkpoints, FitConfig, FitState, OnStep, Run
from training.towers import PooledTower, TokenTower, pooled_states


class TrainingConfig(BaseModel):
    """What a training job is asked to do; every field has a default that suits a new channel."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    adapter: AdapterConfig = Field(default_factory=AdapterConfig)
    fit: FitConfig = Field(default_factory=FitConfig)
    warmup_epochs: int = Field(
        10, ge=0, le=100, description="first epochs on cached encoder states, without the item encoder's part"
    )
    promote: bool = Field(True, description="make it champion when it passes the gate")


@dataclass(frozen=True)
class Subject:
    """What is trained on and measured against: one channel on one backbone, tokenised once."""

    backbone: Backbone
    corpus: Corpus
    tokens: TokenTable

    def encode(self, model: TransRec, on_encode: Progress | None = None) -> NDArray[np.float32]:
        """The catalogue's distinct texts (U, d) as `model` sees them."""
        return encode_items(model, self.tokens, on_encode)

    def evaluate(self, model: TransRec, vectors: NDArray[np.float32], stage: Stage) -> Evaluation:
        """Rank the whole catalogue for every user; `vectors` are the model's own, from `encode`."""
        return evaluate_model(model, self.corpus, stage, vectors)

    def popularity(self, stage: Stage) -> Evaluation:
        """The baseline without a model."""
        return evaluate_popularity(self.corpus, stage)


def subject(backbone: Backbone, corpus: Corpus) -> Subject:
    """Tokenise the corpus for the backbone."""
    length = backbone.model.config.max_tokens
    return Subject(backbone, corpus, tokenize(backbone.tokenizer, corpus.texts.texts, length))


@dataclass(frozen=True)
class Trained:
    """The best epoch's weights by site name, that model, its item vectors by distinct text, the curve."""

    weights: dict[str, Tensor]
    model: TransRec
    vectors: NDArray[np.float32]
    state: FitState


def finetune(
    on: Subject,
    config: TrainingConfig,
    on_step: OnStep | None = None,
    checkpoints: Checkpoints | None = None,
) -> Trained:
    """Train the adapter that `config` asks for. The backbone's own tensors are never written."""
    torch.manual_seed(config.fit.seed)  # the adapter's first weights
    model = attach(on.backbone.model, config.adapter)
    trainable = tensors(model, config.adapter)
    freeze_all_but(model, trainable)
    warm = None
    if checkpoints is None or checkpoints.load() is None:
        warm = _warm_up(on, model, trainable, config, on_step)
    tower = TokenTower(model, on.tokens)
    run = Run(model, trainable, on.corpus, tower, config.fit)
    if warm:
        run.state.best = warm.best  # what follows replaces the warm-up's weights only by doing better
    state = run.fit(on_step, checkpoints)
    model.requires_grad_(False)
    return Trained(extract(model, config.adapter), model, tower.catalogue(), state)


def _warm_up(
    on: Subject,
    model: TransRec,
    trainable: dict[str, nn.Parameter],
    config: TrainingConfig,
    on_step: OnStep | None,
) -> FitState | None:
    """Train what stands behind the item encoder on its cached output, a hundred times cheaper a step.

    The item encoder's adapters are still near the identity, so its output hardly differs from the
    backbone's. It has no checkpoint of its own: a job that is killed here starts it again.
    """
    behind = {k: p for k, p in trainable.items() if not k.startswith("item/")}
    if not config.warmup_epochs or not any(p is not model.prior for p in behind.values()):
        return None
    tower = PooledTower(model, pooled_states(model, on.tokens))
    fit = config.fit.model_copy(update={"max_epochs": config.warmup_epochs})
    return Run(model, behind, on.corpus, tower, fit).fit(on_step)
