"""What a trained model has to beat: popularity, Markov and item-kNN, ranked the same way.

Every baseline is fitted on the training windows (w[:-2]), for the test split too: it never counts the
validation item, and only sees it as the user's latest choice when the test item is asked for.
"""

import warnings
from collections import defaultdict
from collections.abc import Callable
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from app.core.errors import Invalid
from training.dataset import Corpus, Stage
from training.evaluate import Evaluation, RankingProtocol, Scorer, evaluate

if TYPE_CHECKING:
    from implicit.nearest_neighbours import ItemItemRecommender

NEIGHBOURS = 200  # kept an item


def popularity(corpus: Corpus, stage: Stage) -> Scorer:  # noqa: ARG001 - the same at every stage
    """Training interactions of each item, the same for everybody."""
    counts = torch.from_numpy(corpus.train_counts()).double()
    return lambda users: counts.expand(len(users), -1)


def markov(corpus: Corpus, stage: Stage) -> Scorer:
    """First order: how often the item came right after the user's last one.

    Items with equal counts, among them all that never came after it, stand in the order of popularity.
    """
    next_of = defaultdict[int, list[int]](list)
    for user in range(len(corpus.windows)):
        for item, following in pairwise(corpus.train(user).tolist()):
            next_of[item].append(following)
    counts = corpus.train_counts()
    backoff = counts / (counts.sum() + 1)  # less than one transition

    def score(users: NDArray[np.int64]) -> Tensor:
        last = [int(corpus.history(u, stage)[-1]) for u in users]
        after = [np.array(next_of.get(item, []), dtype=np.int64) for item in last]
        transitions = np.stack([np.bincount(a, minlength=corpus.n_items) for a in after])  # (C, N)
        return torch.from_numpy(transitions + backoff)

    return score


def item_knn(corpus: Corpus, stage: Stage) -> Scorer:
    """Sum over the history of the cosine between the sets of users of two items (Sarwar et al. 2001)."""
    return _neighbours(_implicit().CosineRecommender(K=NEIGHBOURS), corpus, stage)


def co_occurrence(corpus: Corpus, stage: Stage) -> Scorer:
    """Item-kNN by the bare number of users that two items share, so popular neighbours weigh more."""
    return _neighbours(_implicit().ItemItemRecommender(K=NEIGHBOURS), corpus, stage)


BASELINES: dict[str, Callable[[Corpus, Stage], Scorer]] = {
    "popularity": popularity,
    "markov": markov,
    "item_knn": item_knn,
    "co_occurrence": co_occurrence,
}


def baselines(corpus: Corpus, stage: Stage, protocol: RankingProtocol = "default") -> dict[str, Evaluation]:
    """Every baseline by name. Raises `Invalid` where the extra `experiments` is not installed."""
    scorers = {name: fitted(corpus, stage) for name, fitted in BASELINES.items()}
    return {name: evaluate(corpus, stage, score, protocol=protocol) for name, score in scorers.items()}


def evaluate_popularity(
    corpus: Corpus, stage: Stage, max_users: int | None = None, protocol: RankingProtocol = "default"
) -> Evaluation:
    """The baseline that a channel's gate asks for; needs no extra."""
    return evaluate(corpus, stage, popularity(corpus, stage), max_users, protocol)


def _neighbours(model: "ItemItemRecommender", corpus: Corpus, stage: Stage) -> Scorer:
    """Fit on who took what in training; score (C, N) = history (C, N) @ similarity (N, N)."""
    everybody = range(len(corpus.windows))
    with warnings.catch_warnings():  # of a conversion that is the library's own
        warnings.filterwarnings("ignore", message="Method expects CSR input")
        model.fit(_taken(corpus, [corpus.train(u) for u in everybody]), show_progress=False)
    histories = _taken(corpus, [corpus.history(u, stage) for u in everybody])
    return lambda users: torch.from_numpy((histories[users] @ model.similarity).toarray())


def _taken(corpus: Corpus, sequences: list[NDArray[np.int64]]) -> Any:
    """Item rows by user -> CSR (U, N), 1 where the user took the item, once or more often."""
    from scipy.sparse import csr_matrix

    sets = [np.unique(s) for s in sequences]
    rows, columns = np.repeat(np.arange(len(sets)), [len(s) for s in sets]), np.concatenate(sets)
    return csr_matrix((np.ones(len(rows)), (rows, columns)), shape=(len(sets), corpus.n_items))


def _implicit() -> Any:
    """The library's module of item-item models, loaded when it is asked for."""
    try:
        import implicit.nearest_neighbours
    except ImportError as error:
        raise Invalid(
            "The item-kNN baselines need 'implicit'. Install it: pip install 'transrec-serve[experiments]'."
        ) from error
    return implicit.nearest_neighbours
