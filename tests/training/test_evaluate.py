import numpy as np
import torch

from app.model.adapters import attach
from app.model.encode import encode_items
from app.model.methods import AdapterConfig
from training.dataset import build_corpus
from training.evaluate import PRIOR_GRID, choose_prior, evaluate, evaluate_model, evaluate_popularity
from training.finetune import Subject


def test_ranking_against_a_plain_loop() -> None:
    items = {f"i{n}": f"t{n}" for n in range(30)}
    rng = np.random.default_rng(0)
    sequences = {f"u{u}": [f"i{i}" for i in rng.integers(30, size=9)] for u in range(40)}
    corpus = build_corpus("c", items, sequences, 20)
    scores = torch.randn(40, 30, generator=torch.Generator().manual_seed(0))
    ranks = []
    for user, window in enumerate(corpus.windows):
        target, seen = window[-1], set(window[:-1].tolist())
        others = [i for i in range(30) if i == target or i not in seen]  # the target is never left out
        ranks.append(1 + sum(bool(scores[user, i] > scores[user, target]) for i in others))
    found = evaluate(corpus, "test", lambda users: scores[torch.from_numpy(users)])
    assert found.overall.hr10 == np.mean([r <= 10 for r in ranks])
    counts = corpus.train_counts()
    cold = [r for r, w in zip(ranks, corpus.windows, strict=True) if counts[w[-1]] == 0]
    assert found.cold.users == len(cold)


def test_popularity_counts_training_only(on: Subject) -> None:
    assert 0 <= evaluate_popularity(on.corpus, "test").overall.hr10 <= 1
    assert on.corpus.train_counts().sum() == sum(len(w) - 2 for w in on.corpus.windows)


def test_the_prior_is_the_best_of_the_grid_on_validation(on: Subject) -> None:
    model = attach(on.backbone.model, AdapterConfig(bottleneck=2, user_bottleneck=2))
    vectors = encode_items(model, on.inputs)
    choose_prior(model, on.corpus, vectors)
    assert model.prior is not None
    chosen = float(model.prior.detach())
    assert chosen in PRIOR_GRID
    best = evaluate_model(model, on.corpus, "validation", vectors).overall.ndcg10
    for weight in PRIOR_GRID:
        model.prior.data.fill_(weight)
        assert evaluate_model(model, on.corpus, "validation", vectors).overall.ndcg10 <= best
