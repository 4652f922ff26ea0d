"""The one path from content and histories to vectors that serving and evaluation share."""

from collections.abc import Callable, Iterator, Sequence
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from app.model.device import autocast
from app.model.inputs import Inputs
from app.model.residual import Residual
from app.model.transrec import TransRec, TransRecConfig

Progress = Callable[[int, int], None]
Encode = Callable[..., Tensor]
"""(numbers of the batch's contents (B,), what `Inputs.batch` gives of them) -> item vectors (B, d)."""

# Tokens of one padded batch: large enough to fill the matrix units, small enough for the cache.
CPU_TOKENS, GPU_TOKENS = 2_048, 65_536


class SequenceModel(Protocol):
    """What ranking needs of a model, whatever its item vectors come from: TransRec is one."""

    @property
    def config(self) -> TransRecConfig:
        """Sizes of the user encoder."""

    @property
    def item_encoder(self) -> nn.Module:
        """Whatever item vectors come from."""

    @property
    def prior(self) -> nn.Parameter | None:
        """(1,) weight of the popularity prior, if it has one."""

    @property
    def residual(self) -> Residual | None:
        """What it has learned of single items, if it has."""

    def users(self, e: Tensor, real: Tensor) -> Tensor:
        """Item vectors (B, L, d) and (B, L) bool -> user states (B, L, d); score = state . item."""

    def parameters(self) -> Iterator[nn.Parameter]:
        """As of `nn.Module`."""

    def train(self, mode: bool = True) -> object:
        """As of `nn.Module`."""

    def eval(self) -> object:
        """As of `nn.Module`."""


def device_of(model: SequenceModel) -> torch.device:
    """Where the model's weights are."""
    return next(model.parameters()).device


def tokens_per_batch(device: torch.device) -> int:
    """How many tokens one forward of the item encoder takes."""
    return GPU_TOKENS if device.type == "cuda" else CPU_TOKENS


@torch.inference_mode()
def encode_items(model: TransRec, inputs: Inputs, progress: Progress | None = None) -> NDArray[np.float32]:
    """All N contents -> (N, d) float32 item vectors, in the inputs' order."""
    device = device_of(model)

    def encode(_: NDArray[np.int64], *batch: Tensor) -> Tensor:
        with autocast(device):
            return model.items(*batch)

    return in_batches(inputs, model.config.dim, device, encode, model.prompt_tokens, progress)


def in_batches(
    inputs: Inputs,
    dim: int,
    device: torch.device,
    encode: Encode,
    prompt_tokens: int = 0,
    progress: Progress | None = None,
) -> NDArray[np.float32]:
    """`encode` the N contents by batches of one length -> (N, d) float32, in the inputs' order."""
    out = np.empty((len(inputs), dim), dtype=np.float32)
    done = 0
    for part in inputs.buckets(np.arange(len(inputs)), tokens_per_batch(device), prompt_tokens):
        out[part] = encode(part, *inputs.batch(part, device)).float().cpu().numpy()
        done += len(part)
        if progress:
            progress(done, len(inputs))
    return out


def pad_histories(
    histories: Sequence[Sequence[int]], length: int
) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Row indices, oldest first -> (B, L) left-padded with 0 and (B, L) bool; the last L are kept."""
    rows = np.zeros((len(histories), length), dtype=np.int64)
    real = np.zeros((len(histories), length), dtype=np.bool_)
    for i, history in enumerate(histories):
        kept = history[-length:]
        if len(kept):
            rows[i, -len(kept) :] = kept
            real[i, -len(kept) :] = True
    return rows, real


def prior_of(model: SequenceModel) -> float:
    """The weight of the model's popularity prior, 0 without one."""
    return float(model.prior.detach()) if model.prior is not None else 0.0


def popularity_bias(prior: float, counts: NDArray[np.int64]) -> NDArray[np.float32]:
    """Weight of the prior, interactions of each item (N,) -> (N,) float32 to add to its scores."""
    return (prior * np.log1p(counts)).astype(np.float32)


@torch.inference_mode()
def encode_histories(
    model: SequenceModel, item_vectors: Tensor, histories: Sequence[Sequence[int]]
) -> NDArray[np.float32]:
    """Histories of row indices into `item_vectors` (N, d) -> user vectors (B, d) float32.

    An empty history has no user vector worth ranking with: callers answer it by popularity.
    """
    device = device_of(model)
    rows, real = pad_histories(histories, model.config.length)
    e = item_vectors.to(device)[torch.from_numpy(rows).to(device)]
    states = model.users(e, torch.from_numpy(real).to(device))
    return states[:, -1].float().cpu().numpy()
