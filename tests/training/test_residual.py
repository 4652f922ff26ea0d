"""Training what is learned of single items."""

import numpy as np
import pytest
import torch

from app.model import adapters
from app.model.backbone import Backbone
from app.model.checkpoint import adapter_from_bytes, adapter_to_bytes
from app.model.methods import AdapterConfig
from app.model.residual import VECTORS
from tests.training.conftest import chains
from training.dataset import build_corpus
from training.evaluate import item_table
from training.finetune import Subject, TrainingConfig, _filled_in, finetune, subject
from training.fit import FitConfig

FIT = FitConfig(
    learning_rate=5e-3, residual_learning_rate=3e-2, batch_users=16, max_epochs=8, checkpoint_seconds=0
)


def config(residual: bool = True, method: str = "houlsby", **fit: object) -> TrainingConfig:
    sizes = {"bottleneck": 8, "user_bottleneck": 8}
    adapter = AdapterConfig.model_validate({"method": method, "item_residual": residual, **sizes})
    return TrainingConfig(adapter=adapter, fit=FIT.model_copy(update=fit))


@pytest.fixture(scope="module")
def twins(backbone: Backbone) -> Subject:
    """The chains, but all items have one text: content knows nothing; and ten that nobody took."""
    texts, sequences = chains()
    texts = dict.fromkeys(texts, "thing") | {f"cold{n}": f"cold thing {n % 5}" for n in range(10)}
    return subject(backbone, build_corpus("twins", texts, sequences, 20))


@pytest.mark.parametrize("method", ["houlsby", "side"])
@pytest.mark.parametrize("objective", ["in_batch", "sasrec"])
def test_behaviour_tells_apart_what_content_cannot(twins: Subject, method: str, objective: str) -> None:
    without = finetune(twins, config(False, method, objective=objective))
    trained = finetune(twins, config(True, method, objective=objective))
    before = twins.evaluate(without.model, without.vectors, "test").overall.ndcg10
    after = twins.evaluate(trained.model, trained.vectors, "test").overall.ndcg10
    assert after > 2 * before


def test_an_item_that_nobody_took_has_none(twins: Subject) -> None:
    trained = finetune(twins, config(max_epochs=2))
    residual = trained.model.residual
    assert residual is not None
    found = residual.find(twins.corpus.item_ids)
    assert ((found >= 0) == (twins.corpus.train_counts() > 0)).all()
    assert trained.weights[VECTORS].shape == (24, 64)
    table, row_of = item_table(trained.model, twins.corpus, trained.vectors)
    cold = np.array([item.startswith("cold") for item in twins.corpus.item_ids])
    np.testing.assert_array_equal(table[row_of[cold]], trained.vectors[twins.corpus.contents.of_item[cold]])
    # Five texts for ten cold items: those that share a text share a row, so they tie to the last bit.
    assert len(np.unique(row_of[cold])) == 5


def test_what_is_stored_ranks_as_what_was_measured(twins: Subject) -> None:
    asked = config(max_epochs=2)
    trained = finetune(twins, asked)
    data = adapter_to_bytes(trained.weights, asked.adapter, twins.backbone.fingerprint)
    loaded = adapters.load(twins.backbone.model, asked.adapter, adapter_from_bytes(data)[0])
    one, other = (item_table(model, twins.corpus, trained.vectors)[0] for model in (trained.model, loaded))
    np.testing.assert_array_equal(one, other)
    assert twins.backbone.model.residual is None
    assert torch.isfinite(trained.weights[VECTORS]).all()


@pytest.mark.parametrize(("users", "batch"), [(20, 32), (1100, 32), (6354, 128), (12076, 256), (10**6, 256)])
def test_a_batch_that_was_not_asked_for_goes_by_the_users(users: int, batch: int) -> None:
    found = _filled_in(TrainingConfig(), users)
    assert found.batch_users == batch
    assert found.learning_rate == pytest.approx(1e-3 * (batch / 32) ** 0.5)


def test_what_was_asked_for_stays() -> None:
    asked = _filled_in(TrainingConfig(fit=FitConfig(batch_users=64)), 12076)
    assert (asked.batch_users, asked.learning_rate) == (64, 1e-3)
    asked = _filled_in(TrainingConfig(fit=FitConfig(learning_rate=5e-4)), 12076)
    assert (asked.batch_users, asked.learning_rate) == (256, 5e-4)
    of_method = _filled_in(TrainingConfig(adapter=AdapterConfig(method="fta")), 6354)
    assert of_method.learning_rate == pytest.approx(2e-4)
