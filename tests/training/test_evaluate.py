import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from app.model.adapters import attach
from app.model.encode import encode_items
from app.model.methods import AdapterConfig
from training.dataset import Corpus, build_corpus
from training.evaluate import (
    PRIOR_GRID,
    RankingProtocol,
    choose_prior,
    evaluate,
    evaluate_model,
    repeated,
)
from training.finetune import Subject


@pytest.fixture(scope="module")
def random_corpus() -> Corpus:
    """40 users of 9 interactions with 30 items, so that some targets stand in their own history."""
    rng = np.random.default_rng(0)
    sequences = {f"u{u}": [f"i{i}" for i in rng.integers(30, size=9)] for u in range(40)}
    return build_corpus("random", {f"i{n}": f"t{n}" for n in range(30)}, sequences, 20)


@pytest.fixture(scope="module")
def scores() -> torch.Tensor:
    return torch.randn(40, 30, generator=torch.Generator().manual_seed(0))


def plain_rank(scores: torch.Tensor, window: list[int], n_items: int = 30) -> int:
    target, seen = window[-1], set(window[:-1])
    others = [i for i in range(n_items) if i == target or i not in seen]
    return 1 + sum(bool(scores[i] > scores[target]) for i in others)


def test_ranking_against_a_plain_loop(random_corpus: Corpus, scores: torch.Tensor) -> None:
    windows = [w.tolist() for w in random_corpus.windows]
    ranks = [plain_rank(scores[u], w) for u, w in enumerate(windows)]
    found = evaluate(random_corpus, "test", lambda users: scores[torch.from_numpy(users)])
    assert found.overall.hr10 == np.mean([r <= 10 for r in ranks])


def test_the_papers_protocol_never_hits_a_target_of_the_own_history(
    random_corpus: Corpus, scores: torch.Tensor
) -> None:
    windows = [w.tolist() for w in random_corpus.windows]
    again = [w[-1] in w[:-1] for w in windows]
    assert 0 < sum(again) < len(again)
    assert repeated(random_corpus, "test").tolist() == again
    hits = [
        not r and plain_rank(scores[u], w) <= 10 for u, (w, r) in enumerate(zip(windows, again, strict=True))
    ]
    found = evaluate(
        random_corpus, "test", lambda users: scores[torch.from_numpy(users)], protocol="paper"
    ).overall
    assert found.hr10 == np.mean(hits)
    assert found.users == 40  # they count, as misses


@pytest.mark.parametrize("protocol", ["default", "paper"])
@pytest.mark.parametrize("max_users", [None, 15])
def test_a_perfect_model_reaches_the_bound_and_no_more(
    random_corpus: Corpus, protocol: RankingProtocol, max_users: int | None
) -> None:
    targets = torch.from_numpy(random_corpus.targets("test"))
    perfect, asked = torch.nn.functional.one_hot(targets, 30).float(), list[int]()

    def score(users: NDArray[np.int64]) -> torch.Tensor:
        asked.extend(users)
        return perfect[torch.from_numpy(users)]

    found = evaluate(random_corpus, "test", score, max_users, protocol).overall
    again = repeated(random_corpus, "test")[asked].mean()
    assert found.users == len(asked) == (max_users or 40)
    assert found.hr10 == found.ndcg10 == pytest.approx(1 - again if protocol == "paper" else 1)


def test_the_cold_slice_by_hand() -> None:
    """Of 20 users, 5 take item `new` last, which no training window holds; 3 of these 5 are hit."""
    items = {f"i{n:02d}": f"t{n}" for n in range(30)} | {"new": "new"}
    path = [f"i{n:02d}" for n in range(8)]
    sequences = {f"u{u:02d}": [*path, "new" if u < 5 else "i09"] for u in range(20)}
    sequences["u19"] = ["i09", *path, "i08"]  # so i09 occurs in a training window; i08 does not
    scores = torch.zeros(20, 31)
    scores[:, :20] = torch.arange(20, 0, -1)  # `new` ranks last of 31 ...
    scores[:3, 30] = 99  # ... but first for three users
    corpus = build_corpus("cold", items, sequences, 20)
    found = evaluate(corpus, "test", lambda users: scores[torch.from_numpy(users)])
    assert found.cold.users == 5 + 1  # and u19, whose i08 is new too
    assert found.cold_share == 6 / 20
    assert found.cold.hr10 == (3 + 1) / 6  # i08 is the best item that u19 has not taken
    assert found.overall.hr10 == (3 + 14 + 1) / 20
    assert found.as_dict()["cold_share"] == 0.3
    assert found.as_dict()["cold_users"] == 6


def test_a_model_that_has_diverged_hits_nothing(random_corpus: Corpus) -> None:
    found = evaluate(random_corpus, "test", lambda users: torch.full((len(users), 30), torch.nan))
    assert found.overall.hr10 == found.overall.ndcg10 == 0


def test_the_protocol_reaches_a_model(on: Subject) -> None:
    sequences = {f"u{u}": [f"i{(u + k) % 24:02d}" for k in range(8)] + [f"i{u % 24:02d}"] for u in range(30)}
    items = dict(zip(on.corpus.item_ids, on.corpus.contents.distinct, strict=True))
    corpus = build_corpus("again", items, sequences, 20)  # everybody's target is their own first item
    model = on.backbone.model
    vectors = encode_items(model, on.inputs)
    assert repeated(corpus, "test").all()
    assert evaluate_model(model, corpus, "test", vectors).overall.hr10 > 0
    assert evaluate_model(model, corpus, "test", vectors, protocol="paper").overall.hr10 == 0


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
