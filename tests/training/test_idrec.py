import numpy as np
import pytest
import torch

from app.model.transrec import TransRecConfig
from training.baselines import evaluate_popularity
from training.dataset import Corpus, build_corpus
from training.fit import FitConfig
from training.idrec import IDRec, IdTower, by_id, train_idrec

FIT = {"learning_rate": 5e-3, "batch_users": 16, "max_epochs": 20, "patience": 20}


def test_it_has_the_papers_number_of_parameters() -> None:
    model = IDRec(1000, TransRecConfig(length=20))
    assert sum(p.numel() for p in model.parameters()) == 1001 * 64 + 100_864
    assert not model.item_encoder.weight[0].any()


def test_items_that_share_a_text_have_vectors_of_their_own() -> None:
    sequences = {f"u{u}": [f"i{(u + k) % 30}" for k in range(6)] for u in range(20)}
    corpus = by_id(build_corpus("c", {f"i{n}": "the same" for n in range(30)}, sequences, 20))
    assert corpus.contents.of_item.tolist() == list(range(30))
    tower = IdTower(IDRec(30, TransRecConfig()))
    vectors = tower.catalogue()
    assert len(np.unique(vectors, axis=0)) == 30
    rows = np.array([29, 0, 29])
    np.testing.assert_array_equal(tower(rows).detach().numpy(), vectors[rows])


@pytest.mark.parametrize("objective", ["in_batch", "sasrec"])
def test_it_learns_what_can_be_learned(corpus: Corpus, objective: str) -> None:
    trained = train_idrec(corpus, FitConfig.model_validate(FIT | {"objective": objective}))
    found = trained.evaluate("test").overall
    assert trained.state.curve[-1]["loss"] < trained.state.curve[0]["loss"]
    assert found.ndcg10 > max(0.8, evaluate_popularity(corpus, "test").overall.ndcg10)
    assert not any(p.requires_grad for p in trained.model.parameters())


def test_the_same_seed_gives_the_same_model(corpus: Corpus) -> None:
    config = FitConfig.model_validate(FIT | {"max_epochs": 2})
    one, two = train_idrec(corpus, config), train_idrec(corpus, config)
    other = train_idrec(corpus, config.model_copy(update={"seed": 1}))
    np.testing.assert_array_equal(one.vectors, two.vectors)
    assert not np.array_equal(one.vectors, other.vectors)
    assert not one.model.item_encoder.weight[0].any()  # the padding row is never trained


def test_a_popularity_prior_is_chosen_on_validation(corpus: Corpus) -> None:
    trained = train_idrec(corpus, FitConfig.model_validate(FIT | {"max_epochs": 1}), popularity_prior=True)
    assert isinstance(trained.model.prior, torch.nn.Parameter)
    assert trained.evaluate("validation").overall.hr10 == trained.state.best[0]
