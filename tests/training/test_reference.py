"""The fast path against the plain loop of the benchmark: the same loss and the same gradients."""

from typing import Any

import numpy as np
import pytest
import torch

from app.model import adapters
from app.model.methods import AdapterConfig
from tests.benchmarks.train.reference import Reference
from tests.benchmarks.train.ways import way
from tests.fakes import adapter_weights
from training.dataset import epoch_batches
from training.finetune import Subject, subject


@pytest.mark.parametrize(
    "adapter", [{"method": "houlsby"}, {"method": "houlsby", "top_layers": 1}, {"method": "side"}]
)
def test_the_fast_path_has_the_plain_loops_loss_and_gradients(
    on: Subject, adapter: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.model.device.has_fast_bf16", lambda _: False)
    on = subject(on.backbone, on.corpus)  # the fixture's may have cached states that were rounded
    config = AdapterConfig.model_validate(adapter)
    weights = adapter_weights(on.backbone, 1, config)
    fast = way(on, adapter, "sasrec", 8).run
    plain = Reference(on, way(on, adapter, "sasrec", 8).run.model)  # type: ignore[arg-type]
    for model in (fast.model, plain.model):
        model.eval()  # no dropout
        with torch.no_grad():
            for name, parameter in model.adapter.items():  # type: ignore[attr-defined]
                parameter.copy_(weights[name])
    batch = next(epoch_batches(on.corpus, 8, 0, 0))
    found = [fast.loss(batch), plain.loss(batch, fast.negatives(batch))]
    torch.testing.assert_close(found[0], found[1], rtol=1e-5, atol=1e-6)
    for loss in found:
        loss.backward()  # type: ignore[no-untyped-call]
    reached = 0
    for name, parameter in fast.model.adapter.items():  # type: ignore[attr-defined]
        other = plain.model.adapter[name]
        if name != adapters.PRIOR:  # which acts in the ranking only
            torch.testing.assert_close(parameter.grad, other.grad, rtol=1e-3, atol=1e-5)
            reached += bool(parameter.grad.any())
    assert reached > 5


def test_the_plain_loop_ranks_as_evaluation_does(on: Subject, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.model.device.has_fast_bf16", lambda _: False)
    model = way(on, {"method": "houlsby"}, "sasrec", 8).run.model
    reference = Reference(on, model)  # type: ignore[arg-type]
    vectors = on.encode(on.backbone.model)
    np.testing.assert_allclose(reference.catalogue().detach().numpy(), vectors, atol=1e-4)
    ours = [on.evaluate(on.backbone.model, vectors, stage).overall.hr10 for stage in ("validation", "test")]
    assert list(reference.epoch_end()) == pytest.approx(ours, abs=0.05)  # ties may fall otherwise
