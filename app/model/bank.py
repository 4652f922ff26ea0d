"""One forward over a batch that mixes any channels and methods.

Each adapter has tensors of its own on the device, which a forward stacks for the rows that it has: bytes are
counted exactly, and nothing of an adapter outlives it. Rows are sorted so that each adapter's, and those that
can be stacked, stand side by side.
"""

from collections import defaultdict
from collections.abc import Hashable, Iterator, Mapping, Sequence
from functools import partial
from itertools import groupby
from typing import NamedTuple

import torch
from torch import Tensor, nn

from app.model import adapters
from app.model.bank_cache import BankStats, SlotCache
from app.model.bank_maker import SlotMaker
from app.model.bank_slots import BARE, AdapterWeights, Slot, stacked
from app.model.device import autocast
from app.model.families import PartName
from app.model.mixed import Affine, MixedDTL, Plan, Run, wrap
from app.model.transrec import TextEncoder, TransRec

OWN_RUN = 16
"""From so many rows up an adapter is a run of its own: plain products, nothing is copied."""
USER_ROWS = 64
"""Rows of one forward of the user encoder on a CPU: so many fit its cache."""


class Row(NamedTuple):
    """A row of the batch: its number, its slot, and what is equal for rows of one `Run`."""

    number: int
    slot: Slot
    run: Hashable


class Bank:
    """The adapters of one part of one backbone, of which the device holds at most `budget_bytes`.

    A batch whose adapters are more than that is run in several forwards; so are full fine-tuning (a whole
    model each), prompts of different lengths and, beside the rest, K-Adapters. For one thread at a time.
    """

    def __init__(self, model: TransRec, part: PartName, budget_bytes: int) -> None:
        self._name, self._device = part, model.dtl.weight.device
        self._make = SlotMaker(model, part)
        self._cache = SlotCache(self._make, budget_bytes)
        self._plan, self._mixed = Plan(), adapters.sharing(model)
        wrap(adapters.part(self._mixed, part), self._plan)
        if part == "item":
            self._mixed.set_submodule("dtl", MixedDTL(self._mixed.dtl, self._plan))

    @property
    def stats(self) -> BankStats:
        """Counters, live."""
        return self._cache.stats

    def users(self, rows: Sequence[AdapterWeights], e: Tensor, real: Tensor) -> Tensor:
        """Item vectors (B, L, d) and (B, L) bool of B > 0 histories -> newest user states (B, d).

        Of a bank of the user encoder; row i is computed with `rows[i]`. Raises `Invalid` for an adapter that
        is larger than the budget.
        """
        return self._run(rows, e, real)

    def items(self, rows: Sequence[AdapterWeights], *inputs: Tensor) -> Tensor:
        """What `Inputs.batch` gives of N > 0 items -> item vectors (N, d), in the precision of `autocast`.

        Of a bank of the item encoder; else as `users`.
        """
        with autocast(self._device):
            return self._run(rows, *inputs)

    def check(self, adapter: AdapterWeights) -> None:
        """Raise `Invalid` if the adapter alone is larger than the budget."""
        self._cache.fitting(adapter)

    @torch.inference_mode()
    def _run(self, rows: Sequence[AdapterWeights], *inputs: Tensor) -> Tensor:
        inputs = tuple(t.to(self._device) for t in inputs)
        most = USER_ROWS if self._name == "user" and self._device.type == "cpu" else len(rows)
        answers, order = [], []
        for slots in self._passes(rows):
            grouped = _grouped(slots)
            for start in range(0, len(grouped), most):
                some = grouped[start : start + most]
                numbers = [row.number for row in some]
                answers.append(self._forward(some, *_take(inputs, numbers)))
                order += numbers
        self._set(Plan())  # keep nothing of this batch
        answer = torch.cat(answers) if len(answers) > 1 else answers[0]
        if _ascending(order):
            return answer
        return torch.empty_like(answer).index_copy_(0, torch.tensor(order, device=self._device), answer)

    def _passes(self, rows: Sequence[AdapterWeights]) -> Iterator[dict[Slot, list[int]]]:
        """The batch's slots with their rows' numbers: together what one forward and the budget can hold."""
        numbers: dict[str, list[int]] = defaultdict(list)
        for number, adapter in enumerate(rows):
            numbers[adapter.key].append(number)
        ready: dict[Hashable, dict[Slot, list[int]]] = defaultdict(lambda: defaultdict(list))
        missing, pinned = [], set()
        for key, adapter in {adapter.key: adapter for adapter in rows}.items():
            if slot := self._cache.hit(key):
                ready[slot.kind][slot] = numbers[key]
                pinned.add(key)
            elif self._make.is_bare(adapter):
                ready[BARE.kind][BARE] += numbers[key]
            else:
                missing.append(adapter)
        for adapter in missing:
            slot = self._cache.load(adapter, pinned)
            if slot is None:  # no room beside those: let them go first
                yield from ready.values()
                ready.clear()
                pinned.clear()
                slot = self._cache.load(adapter, pinned)
                assert slot is not None  # noqa: S101 - what does not fit alone has raised
            ready[slot.kind][slot] = numbers[adapter.key]
            pinned.add(adapter.key)
        yield from ready.values()

    def _forward(self, rows: Sequence[Row], *inputs: Tensor) -> Tensor:
        """Rows of one pass, in the order of `_grouped` -> what `users` or `items` answers of them."""
        model = rows[0].slot.whole or self._mixed
        if model is self._mixed:
            self._set(self._plan_of(rows))
        return model.items(*inputs) if self._name == "item" else model.users(*inputs)[:, -1]

    def _set(self, plan: Plan) -> None:
        vars(self._plan).update(vars(plan))
        if isinstance(self._mixed.item_encoder, TextEncoder):
            prompt = plan.prompt
            self._mixed.item_encoder.prompt = None if prompt is None else nn.Parameter(prompt, False)

    def _plan_of(self, rows: Sequence[Row]) -> Plan:
        runs: list[Run] = []
        start = 0
        for _, some in groupby(rows, key=lambda row: row.run):
            slots = [row.slot for row in some]
            runs.append(self._run_of(slice(start, start + len(slots)), slots))
            start += len(slots)
        slots = [row.slot for row in rows]
        if slots[0] is slots[-1]:  # those of one slot stand side by side
            return Plan(runs, slots[0].by_norm, slots[0].prompt)
        norms = None
        if any(slot.norms is not None for slot in slots):
            each = [self._make.norms if slot.norms is None else slot.norms for slot in slots]
            flat = torch.stack(each, 2).unsqueeze(3).flatten(0, 1).unbind(0)  # weight, bias, weight, ...
            norms = list(zip(flat[::2], flat[1::2], strict=True))
        prompts = [slot.prompt for slot in slots if slot.prompt is not None]
        return Plan(runs, norms, torch.stack(prompts) if prompts else None)

    def _run_of(self, rows: slice, slots: Sequence[Slot]) -> Run:
        first = slots[0]
        if first is slots[-1]:
            return Run(rows, first.by_place.get, first.dtl, first.beside)
        return Run(rows, partial(stacked, slots), self._dtl_of(slots))

    def _dtl_of(self, slots: Sequence[Slot]) -> Affine | None:
        if all(slot.dtl is None for slot in slots):
            return None
        weights, biases = zip(*(slot.dtl or self._make.dtl for slot in slots), strict=True)
        return torch.stack(weights), torch.stack(biases)


def _grouped(slots: Mapping[Slot, list[int]]) -> list[Row]:
    """The pass's rows, those of a run side by side, and in it those of a slot."""
    groups: dict[Hashable, list[Slot]] = {}
    for slot, numbers in slots.items():
        alone = len(numbers) >= OWN_RUN or slot.beside
        groups.setdefault(slot if alone else slot.shelf, []).append(slot)
    return [Row(i, slot, group) for group, some in groups.items() for slot in some for i in slots[slot]]


def _ascending(numbers: Sequence[int]) -> bool:
    return numbers == list(range(numbers[0], numbers[0] + len(numbers)))


def _take(inputs: Sequence[Tensor], numbers: list[int]) -> list[Tensor]:
    """Rows of each input; those that stand side by side are not copied."""
    if _ascending(numbers):
        return [t[numbers[0] : numbers[-1] + 1] for t in inputs]
    index = torch.tensor(numbers, device=inputs[0].device)
    return [t.index_select(0, index) for t in inputs]
