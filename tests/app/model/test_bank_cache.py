"""The device tier of adapters: what it holds, whom it lets go, what it counts."""

from collections.abc import Sequence
from dataclasses import fields, is_dataclass
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from app.core.errors import Invalid
from app.model.adapters import PARTS
from app.model.bank import Bank, Row
from app.model.bank_maker import SlotMaker
from app.model.bank_slots import BARE as BARE_SLOT
from app.model.bank_slots import AdapterWeights
from app.model.families import PartName
from app.model.methods import AdapterConfig
from tests.app.model.test_bank import AMPLE, BARE, channels, double, inputs_of, loaded, run, run_alone
from tests.fakes import adapter_weights

NARROW = AdapterConfig(user_bottleneck=2, bottleneck=2)
WIDE = AdapterConfig(user_bottleneck=64, bottleneck=64)


def adapter(seed: int, config: AdapterConfig = NARROW) -> AdapterWeights:
    """One of the tiny BERT's."""
    return AdapterWeights(f"{config.user_bottleneck}-{seed}", config, adapter_weights(BACKBONE, seed, config))


def nbytes(some: AdapterWeights, part: PartName = "user") -> int:
    """What the device holds of it."""
    bank = Bank(BACKBONE.model, part, AMPLE)
    run(bank, part, [some], inputs_of(BACKBONE, part, 1))
    return bank.stats.resident_bytes


def counted(bank: Bank) -> tuple[int, int, int]:
    """Hits, misses, evictions."""
    return bank.stats.hits, bank.stats.misses, bank.stats.evictions


def use(bank: Bank, *rows: AdapterWeights) -> Tensor:
    """A batch of users."""
    return bank.users(rows, *inputs_of(BACKBONE, "user", len(rows)))


BACKBONE = double("bert")


@pytest.mark.parametrize("part", ["item", "user"])
def test_under_a_budget_of_the_largest_all_answers_are_the_same(part: PartName) -> None:
    some = channels(BACKBONE, "bert")
    budget = max(nbytes(one, part) for one in some)
    rows = [*some, BARE, *some[::-1]]
    inputs = inputs_of(BACKBONE, part, len(rows))
    ample, tight = (Bank(BACKBONE.model, part, size) for size in (AMPLE, budget))
    for _ in range(2):
        want = run(ample, part, rows, inputs)
        torch.testing.assert_close(run(tight, part, rows, inputs), want, rtol=1e-12, atol=1e-12)
        assert tight.stats.resident_bytes <= budget
    assert tight.stats.evictions > len(some) / 2
    assert ample.stats.evictions == 0


def test_the_budget_is_kept_at_every_forward(monkeypatch: pytest.MonkeyPatch) -> None:
    some = channels(BACKBONE, "bert")
    budget = 2 * max(nbytes(one) for one in some)
    bank = Bank(BACKBONE.model, "user", budget)
    slots, forward, seen = bank._cache._slots, bank._forward, []

    def watched(rows: Sequence[Row], *inputs: Tensor) -> Tensor:
        seen.append(bank.stats.resident_bytes)
        assert bank.stats.resident_bytes == sum(slot.nbytes for slot in slots.values()) <= budget
        assert {row.slot for row in rows} - {BARE_SLOT} <= set(slots.values())
        return forward(rows, *inputs)

    monkeypatch.setattr(bank, "_forward", watched)
    use(bank, *some)
    use(bank, *some)  # some of them are there
    assert len(seen) > 6


def tensor_bytes(value: Any) -> int:
    """Of all tensors in a slot, but those of a whole model, most of which are the backbone's."""
    if isinstance(value, Tensor):
        return value.numel() * value.element_size()
    if isinstance(value, nn.Module):
        return 0 if hasattr(value, "adapter") else sum(tensor_bytes(p) for p in value.parameters())
    if is_dataclass(value):
        return sum(tensor_bytes(getattr(value, field.name)) for field in fields(value))
    if isinstance(value, dict):
        return sum(tensor_bytes(v) for v in value.values())
    return sum(tensor_bytes(v) for v in value) if type(value) is tuple else 0


@pytest.mark.parametrize("method", ["houlsby", "compacter", "lora", "k_adapter", "layer_norm", "prompt"])
def test_a_slot_is_counted_in_full(method: str) -> None:
    config = AdapterConfig.model_validate({"method": method})
    one = AdapterWeights("a", config, adapter_weights(BACKBONE, 1, config))
    for part in PARTS:
        bank = Bank(BACKBONE.model, part, AMPLE)
        run(bank, part, [one], inputs_of(BACKBONE, part, 1))
        assert bank.stats.resident_bytes == sum(tensor_bytes(slot) for slot in bank._cache._slots.values())


def test_the_least_recently_used_leaves() -> None:
    a, b, c = (adapter(seed) for seed in range(3))
    bank = Bank(BACKBONE.model, "user", 2 * nbytes(a))
    use(bank, a, b)
    use(bank, a)
    use(bank, c)  # b leaves
    assert counted(bank) == (1, 3, 1)
    use(bank, a, c)
    assert counted(bank) == (3, 3, 1)
    use(bank, b)  # a leaves, which was used with c but stood before it
    assert counted(bank) == (3, 4, 2)
    assert bank.stats.load_seconds > 0


def test_one_that_the_batch_needs_stays_for_it() -> None:
    a, b, c = (adapter(seed) for seed in range(3))
    bank = Bank(BACKBONE.model, "user", 2 * nbytes(a))
    use(bank, a)  # the least recently used one
    use(bank, b)
    use(bank, c, a)
    assert counted(bank) == (1, 3, 1)
    use(bank, a, c)
    assert counted(bank) == (3, 3, 1)


def test_a_batch_counts_an_adapter_once_and_the_bare_backbone_never() -> None:
    a, only_items = adapter(0), adapter(1, AdapterConfig(encoders="item"))
    bank = Bank(BACKBONE.model, "user", AMPLE)
    use(bank, a, BARE, a, only_items, a)
    assert counted(bank) == (0, 1, 0)
    use(bank, BARE, only_items)
    assert counted(bank) == (0, 1, 0)
    assert bank.stats.resident_bytes == nbytes(a)


def test_nothing_of_a_wide_tenant_is_left_for_a_narrow_one() -> None:
    wide, narrow = adapter(0, WIDE), adapter(1)
    bank = Bank(BACKBONE.model, "user", nbytes(wide))
    inputs = inputs_of(BACKBONE, "user", 1)
    for one in (wide, narrow, wide, narrow):
        want = run_alone(loaded(BACKBONE, one), "user", inputs)
        torch.testing.assert_close(bank.users([one], *inputs), want, rtol=1e-12, atol=1e-12)
    assert bank.stats.evictions >= 2


def test_one_larger_than_the_budget_is_refused_with_the_remedy_and_harms_nobody() -> None:
    wide, narrow = adapter(0, WIDE), adapter(1)
    bank = Bank(BACKBONE.model, "user", nbytes(narrow))
    want = use(bank, narrow)
    for attempt in (lambda: bank.check(wide), lambda: use(bank, wide, narrow)):
        with pytest.raises(
            Invalid, match=r"takes [\d,]+ bytes .* may take [\d,]+. Raise that budget or train"
        ):
            attempt()
    bank.check(narrow)
    assert torch.equal(use(bank, narrow), want)
    assert counted(bank)[2] == 0


@pytest.mark.parametrize("part", ["item", "user"])
def test_the_parts_own_weights_are_enough(part: PartName) -> None:
    for one in channels(BACKBONE, "bert"):
        rooms = ("user/", "phm/") if part == "user" else ("item/", "dtl/", "phm/")
        own = {name: tensor for name, tensor in one.weights.items() if name.startswith(rooms)}
        few = AdapterWeights(one.key, one.config, own)
        inputs = inputs_of(BACKBONE, part, 1)
        answers = [run(Bank(BACKBONE.model, part, AMPLE), part, [which], inputs) for which in (one, few)]
        assert torch.equal(*answers)


@pytest.mark.parametrize("part", PARTS)
def test_the_order_of_an_adapters_tensors_does_not_matter(part: PartName) -> None:
    # A safetensors file gives them in any order; rows that lie on another shelf could not be stacked.
    one = adapter(1)
    turned = AdapterWeights("turned", one.config, dict(list(one.weights.items())[::-1]))
    make = SlotMaker(BACKBONE.model, part)
    assert make(one).shelf is make(turned).shelf is not None
