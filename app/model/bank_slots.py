"""What the host and the device hold of one adapter."""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple

import torch
from torch import Tensor

from app.model.methods import AdapterConfig, Placement
from app.model.mixed import Activation, Affine, Beside, Change
from app.model.transrec import TransRec


@dataclass(frozen=True, eq=False)
class AdapterWeights:
    """An adapter on the host. `key` is its sha256; "" with no config is the bare backbone.

    `weights` by site, as `adapters.check` has passed them: all, or those that concern the bank that is asked
    (`user/...`; or `item/...` and `dtl/...`; and Compacter's `phm/rule` for both). Nobody writes into them.
    """

    key: str
    config: AdapterConfig | None
    weights: Mapping[str, Tensor]

    @cached_property
    def rooms(self) -> frozenset[str]:
        """First names of the sites: of item, user, dtl, phm, prior."""
        return frozenset(name.partition("/")[0] for name in self.weights)


Dense = tuple[Tensor, ...]
"""A change's four: down (k, D), its bias (1, k), up (D, k), its bias (1, D)."""


class Shelf(NamedTuple):
    """What is equal for slots whose changes can be stacked; their width, padded, is k."""

    places: tuple[str, ...]
    k: int
    activation: Activation
    reads: Placement


@dataclass(frozen=True, eq=False)
class Slot:
    """One adapter on the device; what it lacks is the backbone's."""

    shelf: Shelf | None = None
    changes: Mapping[str, Dense] = field(default_factory=dict)  # by place, their bottleneck padded to k
    norms: Tensor | None = None  # (n, 2, D): weight and bias of each LayerNorm
    dtl: Affine | None = None  # (d, D), (1, d)
    prompt: Tensor | None = None  # (tokens, D)
    beside: Beside | None = None
    whole: TransRec | None = None  # fta and ftn: a model of its own, sharing what it did not change
    kind: Hashable = None  # equal for those whose rows can share a forward
    nbytes: int = 0

    @cached_property
    def by_place(self) -> dict[str, Change]:
        """Its changes."""
        shelf = self.shelf
        return (
            {p: Change(shelf.activation, shelf.reads, *ts) for p, ts in self.changes.items()} if shelf else {}
        )

    @cached_property
    def by_norm(self) -> list[Affine] | None:
        """Its LayerNorms, as views: (D,) each."""
        return None if self.norms is None else [(weight, bias) for weight, bias in self.norms]


BARE = Slot()


def stacked(slots: Sequence[Slot], place: str) -> Change | None:
    """The change at a place of rows of several slots of one shelf, copied to stand side by side."""
    shelf = slots[0].shelf
    if shelf is None or place not in shelf.places:
        return None
    # Four stacks and not one of four in a row: bmm in bf16 copies what is not dense.
    each = zip(*(slot.changes[place] for slot in slots), strict=True)
    return Change(shelf.activation, shelf.reads, *(torch.stack(tensors) for tensors in each))
