"""New items of many channels, encoded together."""

import threading
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from app.core.errors import Invalid
from app.model import adapters
from app.model.backbone import Backbone
from app.model.bank_slots import AdapterWeights
from app.model.encode import encode_items
from app.model.methods import AdapterConfig
from app.serving.desk import Desk
from tests.fakes import SMALL, adapter_weights


def adapter(backbone: Backbone, seed: int) -> AdapterWeights:
    return AdapterWeights(str(seed), SMALL, adapter_weights(backbone, seed))


def together(desk: Desk, asked: Sequence[tuple[AdapterWeights, list[str]]]) -> list[Any]:
    """What each gets when all ask while somebody else has the turn."""
    found: list[Any] = [None] * len(asked)

    def ask(n: int) -> None:
        try:
            found[n] = desk.encode(*asked[n])
        except Exception as error:
            found[n] = error

    threads = [threading.Thread(target=ask, args=(n,)) for n in range(len(asked))]
    with desk._turn:
        for thread in threads:
            thread.start()
        while len(desk._waiting) < len(asked):
            pass
    for thread in threads:
        thread.join()
    return found


def test_each_gets_what_its_own_model_gives(backbone: Backbone, monkeypatch: pytest.MonkeyPatch) -> None:
    desk = Desk(backbone, 2**20)
    batches: list[int] = []
    real = desk._encode

    def counted(jobs: Sequence[Any]) -> None:
        batches.append(len(jobs))
        real(jobs)

    monkeypatch.setattr(desk, "_encode", counted)
    texts = [[f"thing {n}", f"another thing of {n}"] for n in range(6)]
    found = together(desk, [(adapter(backbone, n), texts[n]) for n in range(6)])
    assert batches == [6]
    for n in range(6):
        model = adapters.load(backbone.model, SMALL, adapter_weights(backbone, n))
        own = encode_items(model, backbone.inputs(texts[n]))
        np.testing.assert_allclose(found[n], own, atol=0.05)  # bf16 rounds by the batch
        other = adapters.load(backbone.model, SMALL, adapter_weights(backbone, (n + 1) % 6))
        assert np.abs(found[n] - encode_items(other, backbone.inputs(texts[n]))).max() > 0.2


def test_the_bare_backbone(backbone: Backbone) -> None:
    found = Desk(backbone, 2**20).encode(AdapterWeights("", None, {}), ["a", "b"])
    np.testing.assert_allclose(found, encode_items(backbone.model, backbone.inputs(["a", "b"])), atol=0.05)


def test_one_that_does_not_fit_fails_alone(backbone: Backbone) -> None:
    small = adapter(backbone, 1)
    full = AdapterConfig(method="fta")
    weights = {k: v.clone() for k, v in adapters.extract(adapters.attach(backbone.model, full)).items()}
    size = sum(tensor.nbytes for tensor in small.weights.values())
    desk = Desk(backbone, 2 * size)
    found = together(desk, [(small, ["a"]), (AdapterWeights("fta", full, weights), ["a"]), (small, ["b"])])
    assert isinstance(found[1], Invalid)
    assert [type(one) for one in (found[0], found[2])] == [np.ndarray, np.ndarray]
