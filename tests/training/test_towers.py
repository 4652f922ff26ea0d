from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from app.model import adapters
from app.model.backbone import load_backbone
from app.model.encode import encode_items
from app.model.methods import AdapterConfig
from tests.fakes import adapter_weights, build_backbone, picture
from training.finetune import Subject, TrainingConfig, finetune
from training.towers import (
    ContentTower,
    PooledTower,
    SideTower,
    Tower,
    UpperTower,
    lower_states,
    pooled_states,
    side_states,
)

TOP = [{"method": "houlsby"}, {"method": "k_adapter", "bottleneck": 8}, {"method": "lora"}, {"method": "fta"}]
COUNTED: list[dict[str, object]] = [
    {"method": "fta", "top_layers": 1},
    {"method": "fta", "top_layers": 2},  # all there are: nothing is cached
    {"method": "houlsby", "encoders": "user"},
    {"method": "compacter", "encoders": "user"},
    {"method": "houlsby", "bottleneck": 8},
    {"method": "side", "bottleneck": 8},
]


def test_every_tower_gives_the_vectors_that_serving_encodes(on: Subject) -> None:
    model, inputs = on.backbone.model, on.inputs
    plain = encode_items(model, inputs)
    towers: list[Tower] = [
        ContentTower(model, inputs),
        PooledTower(model, pooled_states(model, inputs)),
        UpperTower(model, lower_states(model, inputs, 1), inputs),
    ]
    rows = np.array([5, 0, 17, 3])
    for tower in towers:
        # bf16 in the encoder, where the CPU has it
        np.testing.assert_allclose(tower.catalogue(), plain, atol=0.05)
        with torch.no_grad():
            np.testing.assert_allclose(tower(rows).numpy(), plain[rows], atol=0.05)


@pytest.mark.parametrize("config", TOP, ids=lambda config: str(config["method"]))
@pytest.mark.parametrize("family", ["bert", "roberta", "vit", "vit_mae", "dinov2"])
def test_cached_lower_layers_change_neither_vectors_nor_gradients(
    family: str, config: dict[str, object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.model.device.has_fast_bf16", lambda _: False)  # so that both ways round alike
    build_backbone(tmp_path, family)
    backbone = load_backbone(str(tmp_path))
    asked = AdapterConfig.model_validate({**config, "top_layers": 1})
    model = adapters.load(backbone.model, asked, adapter_weights(backbone, 1, asked))
    adapters.freeze_all_but(model, model.adapter)
    contents = (
        [picture(n) for n in range(6)] if backbone.modality == "image" else ["a b", "a", "long er text"]
    )
    inputs, rows = backbone.inputs(contents), np.array([2, 0])
    towers: list[Tower] = [
        ContentTower(model, inputs),
        UpperTower(model, lower_states(backbone.model, inputs, 1), inputs),
    ]
    found = []
    for tower in towers:
        model.zero_grad()
        vectors = tower(rows)
        vectors.pow(2).sum().backward()  # type: ignore[no-untyped-call]
        found.append([vectors, *(p.grad for k, p in model.adapter.items() if k.startswith("item/"))])
    assert len(found[0]) > 2
    for whole, cached in zip(*found, strict=True):
        torch.testing.assert_close(whole, cached, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("family", ["bert", "roberta", "vit", "vit_mae", "dinov2"])
def test_a_side_network_over_cached_states_is_what_serving_runs(
    family: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.model.device.has_fast_bf16", lambda _: False)
    build_backbone(tmp_path, family)
    backbone = load_backbone(str(tmp_path))
    config = AdapterConfig(method="side", bottleneck=8)
    model = adapters.load(backbone.model, config, adapter_weights(backbone, 1, config))
    adapters.freeze_all_but(model, model.adapter)
    contents = (
        [picture(n) for n in range(6)] if backbone.modality == "image" else ["a b", "a", "long er text"]
    )
    inputs, rows = backbone.inputs(contents), np.array([2, 0])
    found = []
    for tower in (ContentTower(model, inputs), SideTower(model, side_states(backbone.model, inputs))):
        model.zero_grad()
        vectors = tower(rows)
        vectors.pow(2).sum().backward()  # type: ignore[no-untyped-call]
        found.append([vectors, *(p.grad for k, p in model.adapter.items() if k.startswith("item/"))])
    for whole, cached in zip(*found, strict=True):
        torch.testing.assert_close(whole, cached, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("config", COUNTED, ids=str)
def test_whatever_is_cached_all_that_is_counted_is_trained(on: Subject, config: dict[str, object]) -> None:
    untrained = adapters.extract(adapters.attach(on.backbone.model, AdapterConfig.model_validate(config)))
    asked = TrainingConfig.model_validate(
        {"adapter": config, "fit": {"max_epochs": 3, "batch_users": 16, "patience": 3}, "warmup_epochs": 0}
    )
    trained = finetune(on, asked)
    assert trained.weights.keys() == untrained.keys()
    idle = {k for k, v in trained.weights.items() if v.equal(untrained[k]) and not k.endswith("down.weight")}
    assert {k for k in idle if k != adapters.PRIOR} == set()


def test_a_cache_too_large_is_not_made(on: Subject, monkeypatch: pytest.MonkeyPatch) -> None:
    fit = {"max_epochs": 1, "batch_users": 16}
    asked = TrainingConfig.model_validate({"adapter": {"top_layers": 1}, "fit": fit, "warmup_epochs": 0})
    cached = finetune(replace(on), asked)
    monkeypatch.setattr("training.towers.MAX_CACHE_BYTES", 0)
    monkeypatch.setattr("training.finetune.lower_states", None)  # it would be called
    whole = finetune(replace(on, _lower={}), asked)
    for name, weight in whole.weights.items():
        torch.testing.assert_close(weight, cached.weights[name], rtol=0.1, atol=0.02)


def test_states_kept_in_half_the_bytes_are_near(on: Subject, monkeypatch: pytest.MonkeyPatch) -> None:
    model = on.backbone.model
    whole = lower_states(model, on.inputs, 1)
    monkeypatch.setattr("training.towers.CACHE_BYTES", 0)
    half = lower_states(model, on.inputs, 1)
    assert (whole.states.dtype, half.states.dtype) == (torch.float32, torch.bfloat16)
    found = [UpperTower(model, lower, on.inputs).catalogue() for lower in (whole, half)]
    assert np.linalg.norm(found[0] - found[1]) < 0.01 * np.linalg.norm(found[0])
