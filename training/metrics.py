"""Ranking metrics from ranks; ties stand at their expected rank."""

from dataclasses import asdict, dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

K = 10


def expected_ranks(scores: Tensor, target: Tensor) -> Tensor:
    """scores (C, N), target (C,) -> (C,) rank from 1: one more than the better, plus half of the equal.

    That is the mean of the places that the tied items share. A target without a score (-inf, or the NaN of
    a model that has diverged) ranks nowhere: infinity.
    """
    own = scores.gather(1, target.unsqueeze(1))  # (C, 1)
    better = (scores > own).sum(1)
    equal = (scores == own).sum(1) - 1  # the target equals itself
    return torch.where(own.squeeze(1) > -torch.inf, 1 + better + 0.5 * equal, torch.inf)


@dataclass(frozen=True)
class Metrics:
    """HR@10 and NDCG@10 = 1 / log2(rank + 1) over all users, with standard errors of the mean."""

    hr10: float
    ndcg10: float
    hr10_se: float
    ndcg10_se: float
    users: int

    def as_dict(self) -> dict[str, float]:
        """Rounded for people and JSON."""
        return {k: round(v, 5) for k, v in asdict(self).items()}


def summarize(ranks: NDArray[np.float64]) -> Metrics:
    """Ranks (U,) -> metrics; all zero for no users."""
    n = len(ranks)
    if n == 0:
        return Metrics(0.0, 0.0, 0.0, 0.0, 0)
    hit = ranks <= K
    gain = np.where(hit, 1 / np.log2(ranks + 1), 0.0)
    spread = max(n - 1, 1) ** 0.5
    return Metrics(
        float(hit.mean()), float(gain.mean()), float(hit.std() / spread), float(gain.std() / spread), n
    )


def to_numpy(ranks: list[Tensor]) -> NDArray[np.float64]:
    """Concatenate chunks of ranks on the host."""
    return torch.cat(ranks).double().cpu().numpy()
