"""Item towers: rows of distinct contents -> item vectors, whole or from cached states of frozen layers."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from app.model import side
from app.model.adapters import part
from app.model.device import autocast
from app.model.encode import Progress, device_of, encode_items, tokens_per_batch
from app.model.inputs import Inputs
from app.model.transrec import TextEncoder, TransRec

CACHE_BYTES = 1024**3  # of cached hidden states in float32; above, they are kept in bf16
MAX_CACHE_BYTES = 4 * 1024**3  # of cached hidden states; above, nothing is cached
SIDE_ROWS = 4096  # of one pass of a side network over the catalogue
NO_LAYERS = nn.ModuleList()


class Tower(Protocol):
    """What the training loop needs of an item encoder."""

    def __call__(self, rows: NDArray[np.int64]) -> Tensor:
        """Rows of distinct contents (n,) -> (n, d) float32, with gradients."""

    def catalogue(self) -> NDArray[np.float32]:
        """All contents -> (distinct contents, d), without gradients."""


class ContentTower:
    """The whole item encoder, from tokens or pixels."""

    def __init__(self, model: TransRec, inputs: Inputs, progress: Progress | None = None) -> None:
        self.model, self.inputs, self.progress = model, inputs, progress

    def __call__(self, rows: NDArray[np.int64]) -> Tensor:
        """Encode in buckets, put back in order."""
        device = device_of(self.model)

        def encode(piece: NDArray[np.int64]) -> Tensor:
            with autocast(device):
                return self.model.items(*self.inputs.batch(piece, device)).float()

        return in_buckets(self.model, self.inputs, rows, encode)

    def catalogue(self) -> NDArray[np.float32]:
        """The path that serving takes."""
        return encode_items(self.model, self.inputs, self.progress)


def in_buckets(
    model: TransRec,
    inputs: Inputs,
    rows: NDArray[np.int64],
    encode: Callable[[NDArray[np.int64]], Tensor],
    progress: Progress | None = None,
) -> Tensor:
    """Rows (n,), encoded in buckets of the inputs -> (n, ...) in the rows' order."""
    parts, found, done = [], [], 0
    for positions in inputs.buckets(rows, tokens_per_batch(device_of(model)), model.prompt_tokens):
        parts.append(positions)
        found.append(encode(rows[positions]))
        done += len(positions)
        if progress:
            progress(done, len(rows))
    order = torch.from_numpy(np.argsort(np.concatenate(parts)))
    return torch.cat(found)[order.to(found[0].device)]


class PooledTower:
    """A frozen encoder whose pooled output is cached: only the DTL remains to be computed."""

    def __init__(self, model: TransRec, pooled: Tensor) -> None:
        self.model, self.pooled = model, pooled

    def __call__(self, rows: NDArray[np.int64]) -> Tensor:
        """One gather and one product."""
        with autocast(self.pooled.device):  # as where everything is encoded
            return self.model.project(self.pooled[torch.from_numpy(rows).to(self.pooled.device)]).float()

    @torch.inference_mode()
    def catalogue(self) -> NDArray[np.float32]:
        """All rows at once: N x 384 floats."""
        return self(np.arange(len(self.pooled))).cpu().numpy()


@torch.inference_mode()
def pooled_states(model: TransRec, inputs: Inputs, progress: Progress | None = None) -> Tensor:
    """(N, D) float32 pooled encoder output of every content."""
    device = device_of(model)

    def encode(rows: NDArray[np.int64]) -> Tensor:
        with autocast(device):
            return model.item_encoder(*inputs.batch(rows, device)).float()  # type: ignore[no-any-return]

    return in_buckets(model, inputs, np.arange(len(inputs)), encode, progress)


class SideTower:
    """A side network over cached states of a frozen encoder; nothing of the encoder is in the step."""

    def __init__(self, model: TransRec, states: Tensor) -> None:
        self.model, self.states = model, states
        self.side = side.network_of(part(model, "item"))

    def __call__(self, rows: NDArray[np.int64]) -> Tensor:
        """A gather, and a bottleneck a layer."""
        states = self.states[torch.from_numpy(rows).to(self.states.device)].float()
        with autocast(states.device):
            hidden = states[:, -1] + self.side(states)
            # What an encoder does behind its last layer: a ViT normalises.
            mask = torch.ones(len(hidden), 1, dtype=torch.bool, device=hidden.device)
            pooled = self.model.item_encoder.above(NO_LAYERS, hidden[:, None], mask)
            return self.model.project(pooled).float()

    @torch.inference_mode()
    def catalogue(self) -> NDArray[np.float32]:
        """All contents, a piece at a time."""
        pieces = np.array_split(np.arange(len(self.states)), len(self.states) // SIDE_ROWS + 1)
        return torch.cat([self(rows) for rows in pieces]).cpu().numpy()


@torch.inference_mode()
def side_states(model: TransRec, inputs: Inputs, progress: Progress | None = None) -> Tensor:
    """(N, L + 1, D) what a side network reads of a backbone's layers; float32, bf16 past CACHE_BYTES."""
    device, layers = device_of(model), part(model, "item").layers
    numbers = len(inputs) * (len(layers) + 1) * model.width
    dtype = torch.float32 if numbers * 4 <= CACHE_BYTES else torch.bfloat16

    def encode(rows: NDArray[np.int64]) -> Tensor:
        batch = inputs.batch(rows, device)
        mask = batch[1][:, None, None, :] if isinstance(model.item_encoder, TextEncoder) else None
        with autocast(device):
            hidden = model.item_encoder.below(NO_LAYERS, *batch)
            return side.run(layers, model.config.pooling, hidden, mask)[0].to(dtype)

    return in_buckets(model, inputs, np.arange(len(inputs)), encode, progress)


@dataclass(frozen=True)
class LowerStates:
    """Hidden states below layer `first` of every content, which no adapter changes: computed once."""

    first: int
    states: Tensor  # (all tokens, D) in the inputs' order
    lengths: NDArray[np.int64]  # (N,) tokens of each content

    @cached_property
    def offsets(self) -> NDArray[np.int64]:
        """(N,) where each content's tokens begin."""
        return np.cumsum(self.lengths) - self.lengths

    def batch(self, rows: NDArray[np.int64]) -> tuple[Tensor, Tensor]:
        """Rows (n,) -> padded states (n, T, D) float32 and mask (n, T) bool."""
        lengths, device = self.lengths[rows], self.states.device
        mask = torch.from_numpy(np.arange(lengths.max()) < lengths[:, None]).to(device)
        hidden = torch.zeros(*mask.shape, self.states.size(1), device=device)
        hidden[mask] = self.states[torch.from_numpy(self.flat(rows)).to(device)].float()
        return hidden, mask

    def flat(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """Token positions of the rows, row after row."""
        ends = np.cumsum(self.lengths[rows])
        starts = np.repeat(self.offsets[rows] - (ends - self.lengths[rows]), self.lengths[rows])
        return starts + np.arange(ends[-1])


def can_cache(model: TransRec, inputs: Inputs) -> bool:
    """Whether hidden states of every token fit into MAX_CACHE_BYTES, in bf16 if need be."""
    return int(inputs.lengths.sum()) * model.width * 2 <= MAX_CACHE_BYTES


@torch.inference_mode()
def lower_states(
    model: TransRec, inputs: Inputs, first: int, progress: Progress | None = None
) -> LowerStates:
    """Run embeddings and the lowest `first` layers over all contents; float32, bf16 past CACHE_BYTES."""
    device, done, size = device_of(model), 0, int(inputs.lengths.sum())
    dtype = torch.float32 if size * model.width * 4 <= CACHE_BYTES else torch.bfloat16
    found = LowerStates(first, torch.empty(size, model.width, dtype=dtype, device=device), inputs.lengths)
    lowest = part(model, "item").layers[:first]
    for rows in inputs.buckets(np.arange(len(inputs)), tokens_per_batch(device)):
        with autocast(device):
            hidden = model.item_encoder.below(lowest, *inputs.batch(rows, device))
        mask = torch.from_numpy(np.arange(hidden.size(1)) < inputs.lengths[rows][:, None])
        found.states[torch.from_numpy(found.flat(rows)).to(device)] = hidden[mask.to(device)].to(dtype)
        done += len(rows)
        if progress:
            progress(done, len(inputs))
    return found


class UpperTower:
    """The encoder from layer `first` up, over cached states of the frozen layers below."""

    def __init__(
        self, model: TransRec, lower: LowerStates, inputs: Inputs, progress: Progress | None = None
    ) -> None:
        self.model, self.lower, self.inputs, self.progress = model, lower, inputs, progress

    def __call__(self, rows: NDArray[np.int64]) -> Tensor:
        """Encode in buckets, put back in order."""
        return in_buckets(self.model, self.inputs, rows, self._encode)

    @torch.inference_mode()
    def catalogue(self) -> NDArray[np.float32]:
        """All contents, through the layers that are trained only."""
        everything = np.arange(len(self.inputs))
        return in_buckets(self.model, self.inputs, everything, self._encode, self.progress).cpu().numpy()

    def _encode(self, rows: NDArray[np.int64]) -> Tensor:
        hidden, mask = self.lower.batch(rows)
        layers = part(self.model, "item").layers[self.lower.first :]
        with autocast(hidden.device):
            return self.model.project(self.model.item_encoder.above(layers, hidden, mask)).float()
