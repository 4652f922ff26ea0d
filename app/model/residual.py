"""A learned vector an item, added to what the item encoder says of its content: v_i = content_i + r_i.

Content cannot tell twins apart, nor what only behaviour shows; the residual of a channel's own items can. An
item that the channel was not trained on ("cold") has none and stands by its content alone. Rows are found by
the item's id, so an item keeps its residual when its text changes, and loses it with its id.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from app.core.errors import Invalid

TENSORS = ITEMS, VECTORS = "residual/items", "residual/vectors"
NAME_BYTES = 16


def item_name(item_id: str) -> bytes:
    """How an adapter names an item: the head of the sha256 of its id."""
    return hashlib.sha256(item_id.encode()).digest()[:NAME_BYTES]


@dataclass(frozen=True, eq=False)
class Residual:
    """`names` uint8 (M, 16), distinct; `vectors` (M, d) float32."""

    names: NDArray[np.uint8]
    vectors: Tensor

    @cached_property
    def _row(self) -> Mapping[bytes, int]:
        return {name.tobytes(): row for row, name in enumerate(self.names)}

    def find(self, item_ids: Sequence[str]) -> NDArray[np.int64]:
        """(N,) the row of each item; -1 where it has none."""
        return np.array([self._row.get(item_name(item), -1) for item in item_ids], dtype=np.int64)

    def of(self, item_ids: Sequence[str]) -> NDArray[np.float32]:
        """(N, d), zero where an item has none."""
        rows = self.find(item_ids)
        found = self.vectors.detach().cpu().numpy()
        out = np.zeros((len(rows), found.shape[1]), np.float32)
        out[rows >= 0] = found[rows[rows >= 0]]
        return out

    def as_stored(self) -> "Residual":
        """The same, detached and rounded as an adapter's file holds it."""
        return Residual(self.names, self.vectors.detach().cpu().half().float())

    def tensors(self) -> dict[str, Tensor]:
        """As an adapter's file holds it."""
        return {ITEMS: torch.from_numpy(self.names), VECTORS: self.vectors.half()}


def begun(item_ids: Sequence[str], vectors: Tensor) -> Residual:
    """Items (M), and the vectors (M, d) that are to be learned of them."""
    names = np.frombuffer(b"".join(map(item_name, item_ids)), np.uint8).reshape(-1, NAME_BYTES)
    return Residual(names.copy(), vectors)


def check_shapes(shapes: Mapping[str, torch.Size], dim: int) -> None:
    """Raise `Invalid` unless the two tensors are there, with a row an item each."""
    names, vectors = shapes.get(ITEMS), shapes.get(VECTORS)
    if not names or not vectors or names[1:] != (NAME_BYTES,) or vectors != (names[0], dim):
        raise Invalid(
            f"An adapter with item_residual holds '{ITEMS}' (M, {NAME_BYTES}) and '{VECTORS}' (M, {dim}). "
            "Export it from this service, or set item_residual to false."
        )


def read(tensors: Mapping[str, Tensor], dim: int) -> Residual:
    """The two tensors of an adapter's file; raises `Invalid` where they are not sound."""
    check_shapes({name: tensor.shape for name, tensor in tensors.items()}, dim)
    names, vectors = tensors[ITEMS], tensors[VECTORS].float()
    found = Residual(names.numpy(), vectors)
    if names.dtype != torch.uint8 or len(found._row) != len(names):
        raise Invalid(f"'{ITEMS}' holds distinct names of {NAME_BYTES} bytes each. Train the adapter again.")
    if not torch.isfinite(vectors).all():
        raise Invalid(f"Tensor '{VECTORS}' holds NaN or infinite values. Train the adapter again.")
    return found
