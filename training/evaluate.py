"""Full-ranking evaluation: every item of the catalogue is ranked, the user's own history is left out.

The target itself is never left out (the published protocol drops it where it stands in the history).
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from app.model.encode import device_of, encode_histories, popularity_bias
from app.model.transrec import TransRec
from training.dataset import Corpus, Stage
from training.metrics import Metrics, expected_ranks, summarize, to_numpy

CHUNK = 256  # users scored at once: 256 x 100k items x 4 bytes = 100 MB

PRIOR_GRID = (0.0, 0.25, 0.5, 0.75, 1.0, 1.5, 2.0)
PRIOR_USERS = 1000

Scorer = Callable[[NDArray[np.int64]], Tensor]


@dataclass(frozen=True)
class Evaluation:
    """All users, and the slice whose target never occurs in training (only content can hit those)."""

    overall: Metrics
    cold: Metrics

    def as_dict(self) -> dict[str, float]:
        """Flat, for rows and reports."""
        return self.overall.as_dict() | {f"cold_{k}": v for k, v in self.cold.as_dict().items()}


def evaluate(corpus: Corpus, stage: Stage, score: Scorer, max_users: int | None = None) -> Evaluation:
    """`score` maps user numbers (C,) to scores (C, n_items)."""
    targets = corpus.targets(stage)
    users = _sample(len(targets), max_users)
    ranks = []
    for start in range(0, len(users), CHUNK):
        chunk = users[start : start + CHUNK]
        scores, target = score(chunk), torch.from_numpy(targets[chunk])
        mask = torch.zeros(scores.shape, dtype=torch.bool)
        for i, user in enumerate(chunk):
            mask[i, corpus.history(user, stage)] = True
        mask.scatter_(1, target.unsqueeze(1), False)
        scores = scores.masked_fill(mask.to(scores.device), -torch.inf)
        ranks.append(expected_ranks(scores, target.to(scores.device)))
    all_ranks = to_numpy(ranks)
    return Evaluation(summarize(all_ranks), summarize(all_ranks[corpus.train_counts()[targets[users]] == 0]))


def evaluate_model(
    model: TransRec, corpus: Corpus, stage: Stage, vectors: NDArray[np.float32], max_users: int | None = None
) -> Evaluation:
    """`vectors` (distinct contents, d): items that share a content share a score, to the last bit."""
    device = device_of(model)
    table, of_item = (
        torch.from_numpy(vectors).to(device),
        torch.from_numpy(corpus.contents.of_item).to(device),
    )
    bias = torch.from_numpy(popularity_bias(model, corpus.train_counts())).to(device)

    def score(users: NDArray[np.int64]) -> Tensor:
        histories = [corpus.contents.of_item[corpus.history(u, stage)].tolist() for u in users]
        states = torch.from_numpy(encode_histories(model, table, histories)).to(device)
        return (states @ table.T)[:, of_item] + bias

    return evaluate(corpus, stage, score, max_users)


def choose_prior(model: TransRec, corpus: Corpus, vectors: NDArray[np.float32]) -> None:
    """Set the model's popularity prior to the weight with the best validation NDCG@10.

    The in-batch softmax without logQ learns log p(item | user) - log p(item), so a weight near 1 restores
    log p(item | user); which weight is best depends on the channel, hence a look at a sample of its users.
    """
    assert model.prior is not None  # noqa: S101 - callers ask for models that have one
    found = {}
    for weight in PRIOR_GRID:
        model.prior.data.fill_(weight)
        found[weight] = evaluate_model(model, corpus, "validation", vectors, PRIOR_USERS).overall.ndcg10
    model.prior.data.fill_(max(found, key=lambda w: found[w]))


def evaluate_popularity(corpus: Corpus, stage: Stage, max_users: int | None = None) -> Evaluation:
    """The baseline that a channel must beat: the same training counts for everybody."""
    counts = torch.from_numpy(corpus.train_counts()).double()
    return evaluate(corpus, stage, lambda users: counts.expand(len(users), -1), max_users)


def _sample(n: int, most: int | None) -> NDArray[np.int64]:
    """All of n users, or `most` of them, the same ones each time."""
    if most is None or n <= most:
        return np.arange(n)
    return np.sort(np.random.default_rng(0).permutation(n)[:most])
