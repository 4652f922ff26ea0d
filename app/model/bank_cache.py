"""The device tier of adapters: the most recently used ones, as many as a budget of bytes holds."""

import time
from collections import OrderedDict
from collections.abc import Callable, Container
from dataclasses import dataclass

from app.core.errors import Invalid
from app.model.bank_slots import AdapterWeights, Slot


@dataclass
class BankStats:
    """Since the bank was made. An adapter counts once a batch, however many rows it has."""

    hits: int = 0
    misses: int = 0
    evictions: int = 0
    load_seconds: float = 0.0
    resident_bytes: int = 0


class SlotCache:
    """Slots by adapter. For one thread at a time."""

    def __init__(self, make: Callable[[AdapterWeights], Slot], budget_bytes: int) -> None:
        self.stats = BankStats()
        self._make, self._budget = make, budget_bytes
        self._slots: OrderedDict[str, Slot] = OrderedDict()  # the least recently used one first

    def hit(self, key: str) -> Slot | None:
        """That adapter's slot, if it is on the device: it is now the last one used."""
        slot = self._slots.get(key)
        if slot is not None:
            self._slots.move_to_end(key)
            self.stats.hits += 1
        return slot

    def load(self, adapter: AdapterWeights, pinned: Container[str]) -> Slot | None:
        """Make the adapter's slot; None if there is no room for it beside those of `pinned`.

        Others leave for it, the least recently used one first. Raises `Invalid` for an adapter that is larger
        than the budget.
        """
        start = time.perf_counter()
        slot = self.fitting(adapter)
        if not self._make_room(slot.nbytes, pinned):
            return None
        self._slots[adapter.key] = slot
        self.stats.resident_bytes += slot.nbytes
        self.stats.misses += 1
        self.stats.load_seconds += time.perf_counter() - start
        return slot

    def fitting(self, adapter: AdapterWeights) -> Slot:
        """The adapter's slot, made anew; raises `Invalid` if it is larger than the budget."""
        slot = self._make(adapter)
        if slot.nbytes > self._budget:
            raise Invalid(
                f"The adapter takes {slot.nbytes:,} bytes on the device, where all together may take "
                f"{self._budget:,}. Raise that budget or train a smaller adapter."
            )
        return slot

    def _make_room(self, nbytes: int, pinned: Container[str]) -> bool:
        free = self._budget - self.stats.resident_bytes
        leaving = []
        for key, slot in self._slots.items():
            if free >= nbytes:
                break
            if key not in pinned:
                leaving.append(key)
                free += slot.nbytes
        if free < nbytes:
            return False
        for key in leaving:
            self.stats.resident_bytes -= self._slots.pop(key).nbytes
        self.stats.evictions += len(leaving)
        return True
