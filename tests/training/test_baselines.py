import os
import sys
from pathlib import Path

import numpy as np
import pytest
from implicit.nearest_neighbours import CosineRecommender
from scipy.sparse import csr_matrix

from app.core.errors import Invalid
from training.baselines import (
    BASELINES,
    NEIGHBOURS,
    baselines,
    evaluate_popularity,
    item_knn,
    markov,
    popularity,
)
from training.dataset import Corpus, Stage, build_corpus
from training.sources import read_tsv

DATA = "TRANSREC_TEST_DATA"


@pytest.fixture(scope="module")
def shop() -> Corpus:
    """After `a` comes `b` for 12 users and `c` for 8; their validation and test items are `y` and `z`."""
    sequences = {f"u{u:02d}": ["x", "a", "b" if u < 12 else "c", "y", "z"] for u in range(20)}
    return build_corpus("shop", {i: i for i in "abcxyz"}, sequences, 20)


def test_popularity_counts_training_only(shop: Corpus) -> None:
    assert popularity(shop, "test")(np.array([0, 1])).tolist() == [[20, 12, 8, 20, 0, 0]] * 2


@pytest.mark.parametrize(("stage", "last"), [("validation", "b"), ("test", "y")])
def test_markov_by_hand(shop: Corpus, stage: Stage, last: str) -> None:
    """Neither `b` nor `y` is ever followed by anything in training: popularity answers."""
    scores = markov(shop, stage)(np.array([0]))
    assert shop.item_ids[shop.history(0, stage)[-1]] == last
    np.testing.assert_allclose(scores, [[20 / 61, 12 / 61, 8 / 61, 20 / 61, 0, 0]])


def test_markov_counts_transitions_and_breaks_their_ties_by_popularity() -> None:
    sequences = {f"u{u:02d}": ["a", "b" if u % 2 else "c", "c", "a", "z"] for u in range(20)}
    corpus = build_corpus("two", {i: i for i in "abcz"}, sequences, 20)  # training: a b c, or a c c
    score = markov(corpus, "test")(np.array([0]))[0]  # after a: 10 b, 10 c
    np.testing.assert_allclose(score, [20 / 61, 10 + 10 / 61, 10 + 30 / 61, 0])


def test_item_knn_is_the_librarys_own_ranking(corpus: Corpus) -> None:
    users = range(len(corpus.windows))
    rows = np.concatenate([np.full(len(corpus.train(u)), u) for u in users])
    columns = np.concatenate([corpus.train(u) for u in users])
    taken = csr_matrix((np.ones(len(rows)), (rows, columns)), shape=(len(users), corpus.n_items))
    model = CosineRecommender(K=NEIGHBOURS)
    with pytest.warns(Warning, match="CSR"):
        model.fit(taken, show_progress=False)
    ids, expected = model.recommend(3, taken[3], N=5, filter_already_liked_items=False)
    found = item_knn(corpus, "validation")(np.array([3]))[0].numpy()
    np.testing.assert_allclose(found[ids], expected)
    np.testing.assert_allclose(np.sort(found)[::-1][:5], expected)


def test_a_report_names_every_baseline_and_chains_are_markovs(corpus: Corpus) -> None:
    found = baselines(corpus, "test")
    assert found.keys() == BASELINES.keys()
    assert found["markov"].overall.hr10 == found["markov"].overall.ndcg10 == 1
    assert found["popularity"] == evaluate_popularity(corpus, "test")
    assert found["popularity"].overall.hr10 < 1


def test_without_the_extra_the_remedy_is_named(corpus: Corpus, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "implicit.nearest_neighbours", None)
    with pytest.raises(Invalid, match=r"pip install 'transrec-serve\[experiments\]'"):
        item_knn(corpus, "test")


@pytest.mark.skipif(DATA not in os.environ, reason=f"{DATA} names no data folder")
@pytest.mark.parametrize(
    ("source", "expected"),
    [
        (
            "amazon_scientific",
            {"popularity": (0.0412, 0.0295), "markov": (0.0847, 0.0705), "item_knn": (0.0963, 0.0823)},
        ),
        (
            "movietweetings",
            {"popularity": (0.1180, 0.0589), "markov": (0.1632, 0.0911), "item_knn": (0.1322, 0.0691)},
        ),
    ],
)
def test_published_figures_on_the_same_split(source: str, expected: dict[str, tuple[float, float]]) -> None:
    """Measured by others on the same split: each within two standard errors."""
    read = read_tsv(Path(os.environ[DATA]) / "text", source)
    found = baselines(build_corpus(source, read.items, read.sequences, 20), "test")
    for name, (hr10, ndcg10) in expected.items():
        m = found[name].overall
        assert abs(m.hr10 - hr10) < 2 * m.hr10_se, name
        assert abs(m.ndcg10 - ndcg10) < 2 * m.ndcg10_se, name
