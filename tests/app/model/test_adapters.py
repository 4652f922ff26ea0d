import pytest
import torch
from torch import Tensor

from app.core.errors import Invalid
from app.model import adapters
from app.model.backbone import Backbone
from app.model.transrec import TransRec
from tests.fakes import SMALL, adapter_weights


def user_states(backbone: Backbone, model: TransRec) -> Tensor:
    inputs = backbone.inputs(["one thing", "another longer thing"])
    items = model.items(*inputs.batch(torch.arange(2).numpy()))
    padded = torch.cat([torch.zeros(1, 18, 64), items.unsqueeze(0)], dim=1)
    return model.users(padded, torch.arange(20).unsqueeze(0) >= 18)[:, 18:]


def test_channels_share_what_is_frozen_and_nothing_else(backbone: Backbone) -> None:
    one = adapters.load(backbone.model, SMALL, adapter_weights(backbone, 1))
    two = adapters.load(backbone.model, SMALL, adapter_weights(backbone, 2))
    frozen = [m.user_encoder.positions.weight for m in (one, two, backbone.model)]
    assert frozen[0] is frozen[1] is frozen[2]
    first, second = one.adapter, two.adapter
    storages = {p.data_ptr() for p in backbone.model.parameters()}
    assert not {p.data_ptr() for p in first.values()} & ({p.data_ptr() for p in second.values()} | storages)
    before = user_states(backbone, one)
    with torch.no_grad():
        for parameter in second.values():
            parameter.add_(1)
    assert torch.equal(before, user_states(backbone, one))


def test_names_are_sites_of_the_architecture(backbone: Backbone) -> None:
    names = set(adapter_weights(backbone, 1))
    assert {
        "item/L00/mha/down.weight",
        "item/L01/ffn/up.bias",
        "item/emb/ln.weight",
        "user/L01/mha/ln.bias",
    } <= names
    assert "prior/weight" in names


def test_what_does_not_fit_is_refused_by_name(backbone: Backbone) -> None:
    def load(**changes: Tensor | None) -> None:
        weights = adapter_weights(backbone, 1) | {k: v for k, v in changes.items() if v is not None}
        for name in [k for k, v in changes.items() if v is None]:
            del weights[name]
        adapters.load(backbone.model, SMALL, weights)

    site = "item/L00/mha/down.bias"
    refused: list[tuple[dict[str, Tensor | None], str]] = [
        ({site: None}, "lacks 1 tensor"),
        ({"item/L09/mha/down.bias": torch.zeros(4)}, "unknown tensor"),
        ({site: torch.zeros(5)}, r"shape \[5\], expected \[4\]"),
        ({site: torch.zeros(4, dtype=torch.int64)}, "expected a float type"),
        ({site: torch.tensor([0.0, 1.0, float("nan"), 0.0])}, "NaN"),
        ({site: torch.tensor([0.0, 1.0, float("inf"), 0.0])}, "NaN or infinite"),
    ]
    for change, words in refused:
        with pytest.raises(Invalid, match=words):
            load(**change)
