"""Full-ranking evaluation: every item of the catalogue is ranked, the user's own history is left out.

The two protocols differ in one thing: what becomes of a target that stands in the user's own history.
`default` ranks it like any other; `paper`, as the released code of Fu et al. does, leaves it out with the
history, so it can never be hit and HR@10 cannot pass 1 - `repeated(...).mean()`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from app.model.encode import SequenceModel, device_of, encode_histories, popularity_bias, prior_of
from training.dataset import Corpus, Stage
from training.metrics import Metrics, expected_ranks, summarize, to_numpy

CHUNK = 256  # users scored at once: 256 x 100k items x 4 bytes = 100 MB

PRIOR_GRID = (0.0, 0.25, 0.5, 0.75, 1.0, 1.5, 2.0)
PRIOR_USERS = 1000

RankingProtocol = Literal["default", "paper"]
Scorer = Callable[[NDArray[np.int64]], Tensor]  # user numbers (C,) -> scores (C, n_items)


@dataclass(frozen=True)
class Evaluation:
    """All users, and the slice whose target never occurs in training (only content can hit those)."""

    overall: Metrics
    cold: Metrics

    @property
    def cold_share(self) -> float:
        """Share of the users whose target never occurs in training; 0 for no users."""
        return self.cold.users / max(self.overall.users, 1)

    def as_dict(self) -> dict[str, float]:
        """Flat, for rows and reports."""
        cold = {f"cold_{k}": v for k, v in self.cold.as_dict().items()}
        return self.overall.as_dict() | cold | {"cold_share": round(self.cold_share, 5)}


def evaluate(
    corpus: Corpus,
    stage: Stage,
    score: Scorer,
    max_users: int | None = None,
    protocol: RankingProtocol = "default",
) -> Evaluation:
    """Rank every item by `score` for every user, or for a fixed sample of `max_users`."""
    targets = corpus.targets(stage)
    users = _sample(len(targets), max_users)
    chunks = [users[start : start + CHUNK] for start in range(0, len(users), CHUNK)]
    ranks = to_numpy([_ranks(corpus, stage, score(chunk), chunk, targets[chunk]) for chunk in chunks])
    if protocol == "paper":
        ranks[repeated(corpus, stage)[users]] = np.inf
    cold = corpus.train_counts()[targets[users]] == 0
    return Evaluation(summarize(ranks), summarize(ranks[cold]))


def repeated(corpus: Corpus, stage: Stage) -> NDArray[np.bool_]:
    """(U,) whether the user's target stands in the user's own history: what `paper` can never hit."""
    targets = corpus.targets(stage)
    return np.array([target in corpus.history(user, stage) for user, target in enumerate(targets)])


def evaluate_model(
    model: SequenceModel,
    corpus: Corpus,
    stage: Stage,
    vectors: NDArray[np.float32],
    max_users: int | None = None,
    protocol: RankingProtocol = "default",
) -> Evaluation:
    """`vectors` (distinct contents, d): items that share a content share a score, to the last bit."""
    device = device_of(model)
    vectors, row_of = item_table(model, corpus, vectors)
    table, of_item = torch.from_numpy(vectors).to(device), torch.from_numpy(row_of).to(device)
    bias = torch.from_numpy(popularity_bias(prior_of(model), corpus.train_counts())).to(device)

    def score(users: NDArray[np.int64]) -> Tensor:
        histories = [row_of[corpus.history(u, stage)].tolist() for u in users]
        states = torch.from_numpy(encode_histories(model, table, histories)).to(device)
        return (states @ table.T)[:, of_item] + bias

    return evaluate(corpus, stage, score, max_users, protocol)


def item_table(
    model: SequenceModel, corpus: Corpus, vectors: NDArray[np.float32]
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Vectors by content (U, d) -> a table (R, d) and the row of each item (N,): its content's, or its own
    where the model has learned a residual of it."""
    row_of = corpus.contents.of_item
    if model.residual is None:
        return vectors, row_of
    learned = model.residual.find(corpus.item_ids)
    (warm,) = np.nonzero(learned >= 0)
    own = vectors[row_of[warm]] + model.residual.vectors.detach().cpu().numpy()[learned[warm]]
    row_of = row_of.copy()
    row_of[warm] = len(vectors) + np.arange(len(warm))
    return np.concatenate([vectors, own]), row_of


def choose_prior(model: SequenceModel, corpus: Corpus, vectors: NDArray[np.float32]) -> None:
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


def _ranks(
    corpus: Corpus, stage: Stage, scores: Tensor, users: NDArray[np.int64], targets: NDArray[np.int64]
) -> Tensor:
    """(C,) rank of each user's target among the items that are not history; the target always counts."""
    target = torch.from_numpy(targets)
    left_out = torch.zeros(scores.shape, dtype=torch.bool)  # (C, N)
    for i, user in enumerate(users):
        left_out[i, corpus.history(user, stage)] = True
    left_out.scatter_(1, target.unsqueeze(1), False)
    scores = scores.masked_fill(left_out.to(scores.device), -torch.inf)
    return expected_ranks(scores, target.to(scores.device))


def _sample(n: int, most: int | None) -> NDArray[np.int64]:
    """All of n users, or `most` of them, the same ones each time."""
    if most is None or n <= most:
        return np.arange(n)
    return np.sort(np.random.default_rng(0).permutation(n)[:most])
