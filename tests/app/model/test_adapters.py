import pytest
import torch
from pydantic import ValidationError
from torch import Tensor

from app.core.errors import Invalid
from app.model import adapters
from app.model.adapters import AdapterConfig
from app.model.backbone import Backbone
from app.model.inputs import tokenize
from app.model.transrec import TransRec
from tests.fakes import SMALL, adapter_weights

CONFIGS = [
    SMALL,
    AdapterConfig(bottleneck=0, user_bottleneck=4),
    AdapterConfig(bottleneck=4, user_bottleneck=0, tune_layer_norm=False),
    AdapterConfig(bottleneck=4, user_bottleneck=4, tune_dtl=False, popularity_prior=False),
]


def outputs(backbone: Backbone, model: TransRec) -> tuple[Tensor, Tensor]:
    ids, mask = tokenize(backbone.tokenizer, ["one thing", "another longer thing"], 30).batch(
        torch.arange(2).numpy()
    )
    items = model.eval().items(ids, mask)
    history = items[[0, 1, 0]].unsqueeze(0)  # (1, 3, d)
    padded = torch.cat([torch.zeros(1, 17, 64), history], dim=1)
    return items, model.users(padded, torch.arange(20).unsqueeze(0) >= 17)[:, 17:]


@pytest.mark.parametrize("config", CONFIGS)
def test_an_untrained_adapter_leaves_the_output_where_it_was(
    backbone: Backbone, config: AdapterConfig
) -> None:
    torch.manual_seed(0)
    attached = adapters.attach(backbone.model, config)
    for before, after in zip(outputs(backbone, backbone.model), outputs(backbone, attached), strict=True):
        assert (after - before).norm() / before.norm() < 1e-2


@pytest.mark.parametrize("config", CONFIGS)
def test_only_the_named_parameters_receive_gradients(backbone: Backbone, config: AdapterConfig) -> None:
    model = adapters.attach(backbone.model, config)
    named = adapters.tensors(model, config)
    adapters.freeze_all_but(model, named)
    items, states = outputs(backbone, model)
    (items.sum() + states.pow(2).sum()).backward()  # type: ignore[no-untyped-call]
    mine = {id(p) for p in named.values()}
    for parameter in model.parameters():
        assert parameter.requires_grad == (id(parameter) in mine)
        assert (parameter.grad is None) or id(parameter) in mine
    assert all(p.grad is None for p in backbone.model.parameters())


@pytest.mark.parametrize("config", CONFIGS)
def test_extract_and_load_round_trip_bit_for_bit(backbone: Backbone, config: AdapterConfig) -> None:
    weights = adapter_weights(backbone, 1, config)
    loaded = adapters.load(backbone.model, config, weights)
    again = adapters.extract(loaded, config)
    assert weights.keys() == again.keys()
    assert all(torch.equal(weights[k], again[k]) for k in weights)


def test_channels_share_what_is_frozen_and_nothing_else(backbone: Backbone) -> None:
    one = adapters.load(backbone.model, SMALL, adapter_weights(backbone, 1))
    two = adapters.load(backbone.model, SMALL, adapter_weights(backbone, 2))
    frozen = [m.user_encoder.positions.weight for m in (one, two, backbone.model)]
    assert frozen[0] is frozen[1] is frozen[2]
    first, second = adapters.tensors(one, SMALL), adapters.tensors(two, SMALL)
    storages = {p.data_ptr() for p in backbone.model.parameters()}
    assert not {p.data_ptr() for p in first.values()} & ({p.data_ptr() for p in second.values()} | storages)
    before = outputs(backbone, one)[1]
    with torch.no_grad():
        for parameter in second.values():
            parameter.add_(1)
    assert torch.equal(before, outputs(backbone, one)[1])


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


def test_a_config_that_trains_nothing_is_refused() -> None:
    with pytest.raises(ValidationError, match="nothing would be trained"):
        AdapterConfig(bottleneck=0, user_bottleneck=0, tune_layer_norm=False, tune_dtl=False)
