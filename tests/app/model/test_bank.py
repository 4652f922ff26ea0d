"""The law of mixed batches: each row equals its channel alone, and differs from its neighbour's channel."""

import copy
import random
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
import pytest
import torch
from torch import Tensor

from app.model import adapters, device
from app.model.backbone import Backbone
from app.model.bank import OWN_RUN, USER_ROWS, Bank
from app.model.bank_slots import AdapterWeights
from app.model.families import FAMILIES, PartName
from app.model.methods import AdapterConfig
from app.model.transrec import TransRec
from tests.app.model.test_laws import backbone_of, configs, contents, fits, named
from tests.fakes import adapter_weights

AMPLE = 1 << 30
BARE = AdapterWeights("", None, {})
OTHER_SIZES = [
    AdapterConfig(bottleneck=5, user_bottleneck=3),  # stacked with the others' eights
    AdapterConfig(bottleneck=24, user_bottleneck=24),
    AdapterConfig(method="lora", rank=3),
    AdapterConfig(method="prompt", tokens=5),
    AdapterConfig(method="vpt", tokens=5),
]


@dataclass(frozen=True)
class Batch:
    """Rows in shuffled order, what each gets in the mixed batch, alone, and with its neighbour's adapter."""

    rows: list[AdapterWeights]
    neighbours: list[AdapterWeights]
    mixed: Tensor
    alone: Tensor
    rolled: Tensor

    def error(self, answer: Tensor, row: int) -> float:
        """Relative, of a row."""
        return float((answer[row] - self.alone[row]).norm() / self.alone[row].norm())


def double(family: str) -> Backbone:
    """A tiny backbone in float64, where rounding hides nothing."""
    backbone = backbone_of(family)
    return replace(backbone, model=copy.deepcopy(backbone.model).double())


def channels(backbone: Backbone, family: str) -> list[AdapterWeights]:
    """Two of every method and knob that fits, and some that differ in a size only."""
    some = [config for config in [*configs(), *configs(), *OTHER_SIZES] if fits(family, config)]
    return [AdapterWeights(f"{i}", c, adapter_weights(backbone, i, c)) for i, c in enumerate(some)]


def loaded(backbone: Backbone, adapter: AdapterWeights) -> TransRec:
    """The channel's own model, as it is served alone."""
    if adapter.config is None:
        return backbone.model
    return adapters.load(backbone.model, adapter.config, dict(adapter.weights)).to(backbone.model.dtl.weight)


def inputs_of(backbone: Backbone, part: PartName, rows: int) -> tuple[Tensor, ...]:
    """A batch for `items` or `users`; texts, and histories, of different lengths."""
    if part == "item":
        some = contents(backbone)
        inputs = backbone.inputs([some[i % len(some)] for i in range(rows)])
        batch = inputs.batch(np.arange(rows))
        return tuple(t.to(backbone.model.dtl.weight) if t.is_floating_point() else t for t in batch)
    generator, config = torch.Generator().manual_seed(0), backbone.model.config
    e = torch.randn(rows, config.length, config.dim, generator=generator).to(backbone.model.dtl.weight)
    newest = torch.randint(config.length, (rows, 1), generator=generator)
    return e, torch.arange(config.length) >= newest


def run(bank: Bank, part: PartName, rows: list[AdapterWeights], inputs: tuple[Tensor, ...]) -> Tensor:
    """What the bank answers."""
    return bank.items(rows, *inputs) if part == "item" else bank.users(rows, *inputs)


@torch.no_grad()
def run_alone(model: TransRec, part: PartName, inputs: tuple[Tensor, ...]) -> Tensor:
    """What the channel's own model answers."""
    if part == "user":
        return model.users(*inputs)[:, -1]
    with device.autocast(model.dtl.weight.device):
        return model.items(*inputs)


def exercise(backbone: Backbone, family: str, part: PartName) -> Batch:
    """All methods at once; two channels with many rows, some with two, the bare backbone in between."""
    some = channels(backbone, family)
    rows = [*some, BARE, BARE, *some[::3], *[some[0]] * OWN_RUN, *[some[-1]] * OWN_RUN]
    random.Random(1).shuffle(rows)
    inputs = inputs_of(backbone, part, len(rows))
    models = {adapter.key: loaded(backbone, adapter) for adapter in rows}
    alone = [
        run_alone(models[adapter.key], part, tuple(t[i : i + 1] for t in inputs))
        for i, adapter in enumerate(rows)
    ]
    bank, neighbours = Bank(backbone.model, part, AMPLE), rows[1:] + rows[:1]
    mixed, rolled = (run(bank, part, which, inputs) for which in (rows, neighbours))
    return Batch(rows, neighbours, mixed, torch.cat(alone), rolled)


@lru_cache
def exact(family: str, part: PartName) -> Batch:
    """In float64, which autocast leaves alone."""
    return exercise(double(family), family, part)


def concerns(adapter: AdapterWeights, part: PartName) -> bool:
    """Whether it changes what that part answers."""
    return any(name.startswith((part, "dtl") if part == "item" else part) for name in adapter.weights)


ROWS = [
    pytest.param(family, config, part, id=f"{part}-{family}-{named(config)}")
    for part in ("item", "user")
    for family in (FAMILIES if part == "item" else ("bert", "vit"))
    for config in [*configs(), *OTHER_SIZES]
    if fits(family, config)
]


@pytest.mark.parametrize(("family", "config", "part"), ROWS)
def test_a_row_of_a_mixed_batch_is_as_its_channel_alone_and_not_as_its_neighbour(
    family: str, config: AdapterConfig, part: PartName
) -> None:
    batch = exact(family, part)
    at = [i for i, adapter in enumerate(batch.rows) if adapter.config == config]
    assert at
    for i in at:
        assert batch.error(batch.mixed, i) < 1e-12
        mine, other = batch.rows[i], batch.neighbours[i]
        if mine.key != other.key and (concerns(mine, part) or concerns(other, part)):
            assert batch.error(batch.rolled, i) > 1e-3


@pytest.mark.parametrize(
    ("family", "part"), [*((family, "item") for family in FAMILIES), ("bert", "user"), ("vit", "user")]
)
def test_bare_rows_are_the_backbones(family: str, part: PartName) -> None:
    batch = exact(family, part)
    at = [i for i, adapter in enumerate(batch.rows) if adapter is BARE]
    assert len(at) == 2
    assert all(batch.error(batch.mixed, i) < 1e-12 for i in at)


@pytest.mark.parametrize("family", FAMILIES)
def test_items_in_bf16_are_as_near_as_bf16_is(family: str, monkeypatch: pytest.MonkeyPatch) -> None:
    backbone = backbone_of(family)
    with monkeypatch.context() as patch:
        for where in ("app.model.device", "app.model.bank_maker"):
            patch.setattr(f"{where}.has_fast_bf16", lambda _: True)
        rough = exercise(backbone, family, "item")
    batch = exact(family, "item")
    for i in range(len(batch.rows)):
        rounding = batch.error(rough.alone.double(), i)  # what bf16 costs the channel alone
        # LoRA's scale is in its weights here: at a rank of 3, 16 / 3 of them is rounded otherwise.
        assert batch.error(rough.mixed.double(), i) < 2 * rounding + 0.05


@pytest.mark.parametrize("part", ["item", "user"])
@pytest.mark.parametrize("config", [c for c in configs() if fits("bert", c)], ids=named)
def test_one_row_is_as_its_channel_alone(part: PartName, config: AdapterConfig) -> None:
    backbone = double("bert")
    adapter = AdapterWeights("a", config, adapter_weights(backbone, 1, config))
    inputs = inputs_of(backbone, part, 1)
    answer = run(Bank(backbone.model, part, AMPLE), part, [adapter], inputs)
    want = run_alone(loaded(backbone, adapter), part, inputs)
    torch.testing.assert_close(answer, want, rtol=1e-12, atol=1e-12)


def test_a_large_batch_is_cut_and_keeps_its_order() -> None:
    backbone = double("bert")
    some = channels(backbone, "bert")
    rows = random.Random(0).choices([*some, BARE], k=3 * USER_ROWS + 5)
    inputs = inputs_of(backbone, "user", len(rows))
    answer = Bank(backbone.model, "user", AMPLE).users(rows, *inputs)
    models = {adapter.key: loaded(backbone, adapter) for adapter in rows}
    for i, adapter in enumerate(rows):
        want = run_alone(models[adapter.key], "user", tuple(t[i : i + 1] for t in inputs))[0]
        torch.testing.assert_close(answer[i], want, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("family", FAMILIES)
def test_the_backbone_is_never_written(family: str) -> None:
    backbone = double(family)
    before = {k: v.clone() for k, v in backbone.model.state_dict().items()}
    weights = channels(backbone, family)
    copies = [{k: v.clone() for k, v in adapter.weights.items()} for adapter in weights]
    for part in adapters.PARTS:
        bank = Bank(backbone.model, part, AMPLE)
        run(bank, part, [*weights, BARE], inputs_of(backbone, part, len(weights) + 1))
    after = backbone.model.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[k], after[k]) for k in before)
    for adapter, then in zip(weights, copies, strict=True):
        assert all(torch.equal(adapter.weights[k], then[k]) for k in then)
