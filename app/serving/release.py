"""The bundle: all that answers for a channel, immutable and from one release."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from app.core.errors import Invalid
from app.model.encode import encode_histories
from app.model.transrec import TransRec
from app.serving.index import FlatIndex
from app.store.catalog import ItemRow

ZERO_SHOT = "zero-shot"
"""The method of version 0, the bare backbone."""


@dataclass(frozen=True, eq=False)
class Bundle:
    """One channel's model and catalogue. N items share U distinct contents, each encoded once."""

    channel_id: str
    channel: str
    version: int
    method: str
    adapter_sha256: str  # "" for the bare backbone
    fingerprint: str
    generation: int
    model: TransRec
    items: tuple[ItemRow, ...]  # (N) by row
    row_of: Mapping[str, int]
    names: tuple[bytes, ...]  # (U) content digests
    vectors: Tensor  # (U, d) float32 on the model's device
    of_item: NDArray[np.int64]  # (N,) row of `vectors`
    norms: NDArray[np.float32]  # (U,)
    index: FlatIndex  # over (N, d + 1): item vectors, then the popularity bias
    counts: NDArray[np.int64]  # (N,) interactions
    popular: NDArray[np.int64]  # (N,) rows, most interactions first
    digest: str

    @property
    def item_ids(self) -> tuple[str, ...]:
        """(N) by row."""
        return tuple(item.item_id for item in self.items)


def digest_of(
    adapter_sha256: str,
    fingerprint: str,
    items: tuple[ItemRow, ...],
    indexed: NDArray[np.float32],
) -> str:
    """sha256 that names exactly this adapter, backbone, catalogue and these indexed vectors."""
    digest = hashlib.sha256(f"{adapter_sha256}\n{fingerprint}\n".encode())
    digest.update("\0".join(item.item_id for item in items).encode())
    digest.update(np.ascontiguousarray(indexed).data)
    return digest.hexdigest()


def validate(bundle: Bundle) -> None:
    """Raise `Invalid` unless counts, shapes and values fit together; nothing unchecked goes live."""
    n, dim = len(bundle.items), bundle.model.config.dim
    sizes = {len(bundle.row_of), len(bundle.of_item), len(bundle.counts), len(bundle.popular)}
    if sizes | {bundle.index.size} != {n}:
        raise Invalid(f"The release has {n} items, but its parts have {sorted(sizes)}. Build it again.")
    if tuple(bundle.vectors.shape) != (len(bundle.names), dim):
        raise Invalid(f"The release's vectors have the shape {tuple(bundle.vectors.shape)}. Build it again.")
    if not bool(bundle.vectors.isfinite().all()):
        raise Invalid("The release's item vectors hold NaN or infinite values. Train the adapter again.")
    if n and not np.isfinite(encode_histories(bundle.model, bundle.vectors, [[0]])).all():
        raise Invalid("The release's user encoder gives NaN or infinite values. Train the adapter again.")
