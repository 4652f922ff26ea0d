from pathlib import Path

import numpy as np
import pytest
import torch

from app.model import adapters
from app.model.backbone import load_backbone
from app.model.encode import encode_items
from app.model.methods import AdapterConfig
from tests.fakes import adapter_weights, build_backbone, picture
from training.finetune import Subject
from training.towers import ContentTower, PooledTower, Tower, UpperTower, lower_states, pooled_states

TOP = [{"method": "houlsby"}, {"method": "k_adapter", "bottleneck": 8}, {"method": "lora"}, {"method": "fta"}]


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
