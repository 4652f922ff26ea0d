"""The laws that every method keeps on every family of encoders."""

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
import torch
from torch import Tensor

from app.core.errors import Invalid
from app.model import adapters
from app.model.backbone import Backbone, load_backbone
from app.model.families import FAMILIES
from app.model.methods import METHODS, AdapterConfig
from app.model.transrec import TransRec
from tests.fakes import adapter_weights, build_backbone, picture

NARROW = {"bottleneck": 8, "user_bottleneck": 8}
KNOBS: dict[str, list[dict[str, Any]]] = {
    "houlsby": [
        {},
        {"placement": "parallel"},
        {"placement": "parallel", "tune_layer_norm": False, "tune_dtl": False},
        {"encoders": "item"},
        {"encoders": "user", "tune_layer_norm": False},
        {"top_layers": 1},
    ],
    "ffn": [{}, {"placement": "after_norm", "encoders": "item"}],
    "compacter": [{}, {"position": "mha", "tune_layer_norm": False}],
    "k_adapter": [{}, {"encoders": "user"}, {"top_layers": 1}],
    "fta": [{}, {"top_layers": 1}],
    "lora": [{"rank": 2}, {"rank": 2, "top_layers": 1}],
    "layer_norm": [{}, {"encoders": "item", "tune_dtl": False}],
    "prompt": [{"tokens": 3}],
    "vpt": [{"tokens": 3}],
    "side": [{}, {"tune_layer_norm": False, "tune_dtl": False}],
    "ftn": [{}, {"top_layers": 2, "tune_dtl": False}],
}
# Prompts are read from the first step on: there is no way to add them and change nothing.
PROMPTS = ("prompt", "vpt")


def configs() -> list[AdapterConfig]:
    """Every method, and the knobs that change a structure."""
    found = []
    for method, spec in METHODS.items():
        narrow = {k: v for k, v in NARROW.items() if k in spec.knobs}
        found += [
            AdapterConfig.model_validate({"method": method, **narrow, **knobs})
            for knobs in KNOBS.get(method, [{}])
        ]
    return found


def named(config: AdapterConfig) -> str:
    """For the test's id."""
    different = {k: v for k, v in config.model_dump(exclude_none=True).items() if k not in NARROW}
    defaults = METHODS[config.method].knobs
    return "-".join([config.method, *(str(v) for k, v in different.items() if defaults.get(k, v) != v)])


def fits(family: str, config: AdapterConfig) -> bool:
    """Whether the method exists there."""
    modality = FAMILIES[family].modality
    return METHODS[config.method].modality in (None, modality) and not (
        config.placement == "after_norm" and modality == "image"
    )


@lru_cache
def backbone_of(family: str) -> Backbone:
    """A tiny backbone of the family."""
    with TemporaryDirectory() as folder:
        build_backbone(Path(folder), family)
        return load_backbone(folder)


PAIRS = [
    pytest.param(backbone_of, family, config, id=f"{family}-{named(config)}")
    for family in FAMILIES
    for config in configs()
    if fits(family, config)
]
every_method_on_every_family = pytest.mark.parametrize(("load", "family", "config"), PAIRS)


def contents(backbone: Backbone) -> Sequence[str | bytes]:
    """Six items; texts of different lengths."""
    if backbone.modality == "image":
        return [picture(n) for n in range(6)]
    return ["one thing", "another longer thing", "x", "a b c d e f g h", "thing", "so"]


def encode(backbone: Backbone, model: TransRec, which: Sequence[str | bytes]) -> Tensor:
    """(n, d) in float32, with gradients."""
    inputs = backbone.inputs(which)
    items: Tensor = model.items(*inputs.batch(torch.arange(len(which)).numpy()))
    return items


def states(model: TransRec, items: Tensor) -> Tensor:
    """(1, n, d): the user states after each of the items, padded on the left."""
    length, n = model.config.length, len(items)
    padded = torch.cat([torch.zeros(length - n, model.config.dim), items]).unsqueeze(0)
    return model.users(padded, torch.arange(length).unsqueeze(0) >= length - n)[:, length - n :]


def fresh(backbone: Backbone, config: AdapterConfig) -> TransRec:
    """Attached, untrained."""
    torch.manual_seed(0)
    return adapters.attach(backbone.model, config).eval()


def trained(backbone: Backbone, config: AdapterConfig) -> TransRec:
    """With weights far from where they start."""
    return adapters.load(backbone.model, config, adapter_weights(backbone, 1, config))


def change(before: Tensor, after: Tensor) -> float:
    """Relative."""
    return float((after - before).norm() / before.norm())


@every_method_on_every_family
@torch.no_grad()
def test_an_untrained_adapter_leaves_the_output_where_it_was(
    load: Any, family: str, config: AdapterConfig
) -> None:
    backbone = load(family)
    model, which = fresh(backbone, config), contents(backbone)
    before, after = (encode(backbone, m, which) for m in (backbone.model, model))
    if config.method in PROMPTS:
        assert 1e-3 < change(before, after) < 1.5  # not the identity, and no other method is excused
    else:
        assert change(before, after) < 1e-5
        assert change(states(backbone.model, before), states(model, before)) < 1e-5


@every_method_on_every_family
@torch.no_grad()
def test_a_later_item_never_changes_an_earlier_position(
    load: Any, family: str, config: AdapterConfig
) -> None:
    backbone = load(family)
    model = trained(backbone, config)
    items = encode(backbone, model, contents(backbone))
    other = items.clone()
    other[4:] = torch.randn(2, items.size(1))
    before, after = states(model, items), states(model, other)
    assert torch.equal(before[:, :4], after[:, :4])
    assert not torch.allclose(before[:, 4:], after[:, 4:])


@every_method_on_every_family
@torch.no_grad()
def test_padding_changes_nothing(load: Any, family: str, config: AdapterConfig) -> None:
    backbone = load(family)
    model, which = trained(backbone, config), contents(backbone)
    together = encode(backbone, model, which)
    alone = torch.cat([encode(backbone, model, [content]) for content in which])
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-4)
    length = model.config.length
    real = (torch.arange(length) >= length - 6).unsqueeze(0)
    noisy = torch.randn(1, length, model.config.dim) * 100
    noisy[0, length - 6 :] = together
    torch.testing.assert_close(
        model.users(noisy, real)[:, -6:], states(model, together), rtol=1e-5, atol=1e-5
    )


@every_method_on_every_family
def test_only_the_named_parameters_receive_gradients(load: Any, family: str, config: AdapterConfig) -> None:
    backbone = load(family)
    model = trained(backbone, config)
    adapters.freeze_all_but(model, model.adapter)
    items = encode(backbone, model, contents(backbone))
    (items.pow(3).sum() + states(model, items).pow(3).sum()).backward()  # type: ignore[no-untyped-call]
    mine = {id(p) for p in model.adapter.values()}
    assert len(mine) == len(model.adapter)
    for parameter in model.parameters():
        assert parameter.requires_grad == (id(parameter) in mine)
    reached = {name for name, p in model.adapter.items() if p.grad is not None and p.grad.any()}
    idle = {name for name in model.adapter.keys() - reached if not _may_be_idle(name)}
    assert idle == set()
    assert all(p.grad is None for p in backbone.model.parameters())


def _may_be_idle(name: str) -> bool:
    """The prior acts in the ranking only; a key's bias moves all of a softmax alike."""
    return name == adapters.PRIOR or name.endswith("/key.bias")


@every_method_on_every_family
def test_the_shapes_are_known_without_the_tensors(load: Any, family: str, config: AdapterConfig) -> None:
    model = load(family).model
    attached = adapters.attach(model, config).adapter
    assert adapters.shapes(model, config) == {name: tensor.shape for name, tensor in attached.items()}


@every_method_on_every_family
@torch.no_grad()
def test_extract_and_load_round_trip_bit_for_bit(load: Any, family: str, config: AdapterConfig) -> None:
    backbone = load(family)
    weights = adapter_weights(backbone, 1, config)
    one = adapters.load(backbone.model, config, weights)
    again = adapters.extract(one)
    assert weights.keys() == again.keys()
    assert all(torch.equal(weights[k], again[k]) for k in weights)
    two = adapters.load(backbone.model, config, again)
    items = [encode(backbone, m, contents(backbone)) for m in (one, two)]
    assert torch.equal(*items)
    assert torch.equal(states(one, items[0]), states(two, items[1]))


@every_method_on_every_family
def test_the_backbone_is_shared_and_never_written(load: Any, family: str, config: AdapterConfig) -> None:
    backbone = load(family)
    before = {k: v.clone() for k, v in backbone.model.state_dict().items()}
    model = trained(backbone, config)
    shared = {p.data_ptr() for p in backbone.model.parameters()}
    owned = {p.data_ptr() for p in model.adapter.values()}
    assert not owned & shared
    assert {p.data_ptr() for p in model.parameters()} <= owned | shared
    assert all(torch.equal(before[k], v) for k, v in backbone.model.state_dict().items())
    assert backbone.model.adapter == {}


@pytest.mark.parametrize(
    ("family", "method", "possible"), [("bert", "vpt", "prompt"), ("vit", "prompt", "vpt")]
)
def test_a_method_of_the_other_modality_names_what_is_possible(
    family: str, method: str, possible: str
) -> None:
    backbone = backbone_of(family)
    with pytest.raises(Invalid, match=f"{method} does not exist.*houlsby.*{possible}"):
        adapters.attach(backbone.model, AdapterConfig.model_validate({"method": method}))


def test_more_top_layers_than_there_are_is_refused() -> None:
    config = AdapterConfig(method="ftn", top_layers=3)
    with pytest.raises(Invalid, match="has 2 layers"):
        adapters.attach(backbone_of("bert").model, config)


def test_a_prompt_longer_than_the_encoder_can_read_is_refused() -> None:
    with pytest.raises(Invalid, match="128 positions: tokens of a prompt are at most 96 here"):
        adapters.attach(backbone_of("roberta").model, AdapterConfig(method="prompt", tokens=97))


@torch.no_grad()
def test_nothing_of_a_text_is_dropped_by_a_prompt() -> None:
    backbone = backbone_of("bert")
    model = trained(backbone, AdapterConfig(method="prompt", tokens=40))
    a, b = encode(backbone, model, ["same words here a", "same words here b"])
    assert not torch.allclose(a, b)
