"""IDRec, the model without content: SASRec over item ids (Kang & McAuley 2018).

The same user encoder, objectives, loop and evaluation as TransRec's; only the item vectors are rows of a
table instead of an encoder's output. So a difference in accuracy is due to what an item is made of.
"""

from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from app.model.inputs import distinct_contents
from app.model.transrec import TransRecConfig, UserEncoder, init_xavier
from training.dataset import Corpus, Stage
from training.evaluate import Evaluation, RankingProtocol, evaluate_model
from training.fit import FitConfig, FitState, OnStep, Run


class IDRec(nn.Module):
    """A table (N + 1, d), row 0 for padding, and the user encoder: (N + 1) * 64 + 100,864 parameters."""

    def __init__(self, n_items: int, config: TransRecConfig, popularity_prior: bool = False) -> None:
        super().__init__()
        self.config = config
        self.item_encoder = nn.Embedding(n_items + 1, config.dim, padding_idx=0)
        init_xavier(self.item_encoder)
        with torch.no_grad():
            self.item_encoder.weight[0] = 0
        self.user_encoder = UserEncoder(config)
        self.prior = nn.Parameter(torch.zeros(1)) if popularity_prior else None

    @property
    def residual(self) -> None:
        """None: the table itself is of items."""

    def users(self, e: Tensor, real: Tensor) -> Tensor:
        """Item vectors (B, L, d) and (B, L) bool -> user states (B, L, d); score = state . item."""
        return self.user_encoder(e, real)  # type: ignore[no-any-return]


class IdTower:
    """Item rows -> their vectors in the table."""

    def __init__(self, model: IDRec) -> None:
        self.table = model.item_encoder

    def __call__(self, rows: NDArray[np.int64]) -> Tensor:
        """Rows (n,) -> (n, d) with gradients; item i is row i + 1 of the table."""
        vectors: Tensor = self.table(torch.from_numpy(rows).to(self.table.weight.device) + 1)
        return vectors

    def catalogue(self) -> NDArray[np.float32]:
        """(N, d), a copy."""
        return self.table.weight[1:].detach().cpu().numpy().copy()


@dataclass(frozen=True)
class TrainedIds:
    """The best epoch's model, the corpus as it sees it, its item vectors (N, d), the curve."""

    model: IDRec
    corpus: Corpus
    vectors: NDArray[np.float32]
    state: FitState

    def evaluate(self, stage: Stage, protocol: RankingProtocol = "default") -> Evaluation:
        """Rank the whole catalogue for every user."""
        return evaluate_model(self.model, self.corpus, stage, self.vectors, protocol=protocol)


def by_id(corpus: Corpus) -> Corpus:
    """The corpus with each item's id as its content: items that share a text are told apart."""
    return replace(corpus, contents=distinct_contents(corpus.item_ids))


def train_idrec(
    corpus: Corpus,
    config: FitConfig,
    popularity_prior: bool = False,
    device: torch.device | None = None,
    on_step: OnStep | None = None,
) -> TrainedIds:
    """Train from scratch on the corpus's training windows; the best epoch on validation is kept.

    As for adapters, `in_batch` needs either the prior, one parameter more, or `log_q=1` to know popularity.
    """
    torch.manual_seed(config.seed)
    model = IDRec(corpus.n_items, TransRecConfig(length=corpus.length), popularity_prior).to(device)
    corpus, tower = by_id(corpus), IdTower(model)
    state = Run(model, dict(model.named_parameters()), corpus, tower, config).fit(on_step)
    return TrainedIds(model.requires_grad_(False), corpus, tower.catalogue(), state)
