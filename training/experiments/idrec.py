"""The paper's IDRec baseline: the same user encoder and objective over an embedding an item, from scratch."""

from types import SimpleNamespace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from app.model.transrec import TransRec, TransRecConfig, init_xavier
from training.dataset import Corpus
from training.fit import FitConfig, FitState, OnStep, Run


class Embeddings(nn.Module):
    """What stands in the place of an item encoder: (items, d) numbers, xavier_normal."""

    def __init__(self, items: int, dim: int) -> None:
        super().__init__()
        self.config = SimpleNamespace(hidden_size=dim, model_type="embedding")
        self.table = nn.Embedding(items, dim)
        init_xavier(self.table)


class EmbeddingTower:
    """Item rows -> their embeddings; there is no DTL."""

    def __init__(self, table: nn.Embedding) -> None:
        self.table = table

    def __call__(self, rows: NDArray[np.int64]) -> Tensor:
        """(n,) -> (n, d)."""
        found: Tensor = self.table(torch.from_numpy(rows).to(self.table.weight.device))
        return found

    def catalogue(self) -> NDArray[np.float32]:
        """(items, d)."""
        return self.table.weight.detach().cpu().numpy()


def train_idrec(
    corpus: Corpus, config: FitConfig, device: torch.device, on_step: OnStep | None = None
) -> tuple[TransRec, NDArray[np.float32], FitState, int]:
    """Train on a corpus `as_ids`; returns the model, its item vectors, the curve, the parameters trained.

    Padding never meets an item (see `TransRec.users`), so there is no row for it.
    """
    torch.manual_seed(config.seed)
    settings = TransRecConfig(length=corpus.length)
    embeddings = Embeddings(corpus.n_items, settings.dim)
    model = TransRec(embeddings, settings).to(device)
    model.dtl.requires_grad_(False)
    tower = EmbeddingTower(embeddings.table)
    trainable = {k: p for k, p in model.named_parameters() if p.requires_grad}
    state = Run(model, trainable, corpus, tower, config).fit(on_step)
    model.requires_grad_(False)
    return model, tower.catalogue(), state, sum(p.numel() for p in trainable.values())
