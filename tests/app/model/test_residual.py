"""What is learned of single items: found by their ids, stored and refused as a part of the adapter."""

import numpy as np
import pytest
import torch
from torch import Tensor

from app.core.errors import Invalid
from app.model import adapters, residual
from app.model.backbone import Backbone
from app.model.checkpoint import adapter_from_bytes, adapter_to_bytes
from app.model.residual import ITEMS, VECTORS, Residual
from app.serving.upload import accept_adapter
from tests.fakes import SMALL, adapter_weights

CONFIG = SMALL.model_copy(update={"item_residual": True})
IDS = ["a", "b", "ß"]


@pytest.fixture
def learned() -> Residual:
    return residual.begun(IDS, torch.randn(3, 64, generator=torch.Generator().manual_seed(0)))


@pytest.fixture
def weights(backbone: Backbone, learned: Residual) -> dict[str, Tensor]:
    return adapter_weights(backbone, 1) | learned.tensors()


def test_an_item_is_found_by_its_id(learned: Residual) -> None:
    assert learned.find(["b", "unknown", "ß", "B"]).tolist() == [1, -1, 2, -1]
    rows = learned.of(["b", "unknown"])
    np.testing.assert_array_equal(rows[0], learned.vectors[1].numpy())
    assert not rows[1].any()
    assert learned.of([]).shape == (0, 64)


def test_it_comes_back_from_a_file_as_it_was_evaluated(
    backbone: Backbone, learned: Residual, weights: dict[str, Tensor]
) -> None:
    data, config = accept_adapter(backbone, adapter_to_bytes(weights, CONFIG, backbone.fingerprint))
    tensors, _, _ = adapter_from_bytes(data)
    found = adapters.load(backbone.model, config, tensors).residual
    assert found is not None
    assert torch.equal(found.vectors, learned.as_stored().vectors)
    assert found.find(IDS).tolist() == [0, 1, 2]
    # What is extracted loads back bit for bit.
    again = adapters.extract(adapters.load(backbone.model, config, tensors))
    again, _, _ = adapter_from_bytes(adapter_to_bytes(again, config, backbone.fingerprint))
    assert again.keys() == tensors.keys()
    assert all(torch.equal(tensor, tensors[name]) for name, tensor in again.items())


def test_other_adapters_have_none(backbone: Backbone) -> None:
    model = adapters.load(backbone.model, SMALL, adapter_weights(backbone, 1))
    assert model.residual is backbone.model.residual is None


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({VECTORS: None}, "holds 'residual/items'"),
        ({ITEMS: None}, "holds 'residual/items'"),
        ({VECTORS: torch.zeros(3, 63)}, r"\(M, 64\)"),
        ({VECTORS: torch.zeros(2, 64)}, r"\(M, 64\)"),
        ({ITEMS: torch.zeros(3, dtype=torch.uint8)}, r"\(M, 16\)"),
        ({ITEMS: torch.zeros(3, 16, dtype=torch.uint8)}, "distinct"),
        ({VECTORS: torch.full((3, 64), torch.nan)}, "NaN"),
        ({VECTORS: torch.full((3, 64), 1e6)}, "NaN or infinite"),  # too big for float16
    ],
)
def test_what_is_not_sound_is_refused(
    backbone: Backbone, weights: dict[str, Tensor], change: dict[str, Tensor | None], says: str
) -> None:
    changed = {k: v for k, v in (weights | change).items() if v is not None}
    with pytest.raises(Invalid, match=says):
        accept_adapter(backbone, adapter_to_bytes(changed, CONFIG, backbone.fingerprint))


def test_a_residual_that_the_config_does_not_name_is_refused(
    backbone: Backbone, weights: dict[str, Tensor]
) -> None:
    with pytest.raises(Invalid, match="unknown tensor"):
        accept_adapter(backbone, adapter_to_bytes(weights, SMALL, backbone.fingerprint))
