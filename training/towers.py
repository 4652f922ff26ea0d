"""Item towers: rows of distinct contents -> item vectors, whole or from cached states of frozen layers."""

from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from app.model.device import autocast
from app.model.encode import Progress, device_of, encode_items, tokens_per_batch
from app.model.inputs import Inputs, TokenTable
from app.model.transrec import TransRec, pool


class Tower(Protocol):
    """What the training loop needs of an item encoder."""

    def __call__(self, rows: NDArray[np.int64]) -> Tensor:
        """Rows of distinct contents (n,) -> (n, d) float32, with gradients."""

    def catalogue(self) -> NDArray[np.float32]:
        """All contents -> (distinct contents, d), without gradients."""


class ContentTower:
    """The whole item encoder, from tokens or pixels."""

    def __init__(self, model: TransRec, inputs: Inputs) -> None:
        self.model, self.inputs = model, inputs

    def __call__(self, rows: NDArray[np.int64]) -> Tensor:
        """Encode in buckets, put back in order."""
        device = device_of(self.model)
        parts = list(self.inputs.buckets(rows, tokens_per_batch(device)))
        vectors = []
        for part in parts:
            with autocast(device):
                vectors.append(self.model.items(*self.inputs.batch(rows[part], device)).float())
        order = torch.from_numpy(np.argsort(np.concatenate(parts))).to(device)
        return torch.cat(vectors)[order]

    def catalogue(self) -> NDArray[np.float32]:
        """The path that serving takes."""
        return encode_items(self.model, self.inputs)


class PooledTower:
    """A frozen encoder whose pooled output is cached: only the DTL remains to be computed."""

    def __init__(self, model: TransRec, pooled: Tensor) -> None:
        self.model, self.pooled = model, pooled

    def __call__(self, rows: NDArray[np.int64]) -> Tensor:
        """One gather and one product."""
        return self.model.project(self.pooled[torch.from_numpy(rows).to(self.pooled.device)])

    @torch.inference_mode()
    def catalogue(self) -> NDArray[np.float32]:
        """All rows at once: N x 384 floats."""
        return self.model.project(self.pooled).cpu().numpy()


@torch.inference_mode()
def pooled_states(model: TransRec, inputs: Inputs, progress: Progress | None = None) -> Tensor:
    """(N, D) float32 pooled encoder output of every content."""
    device, done = device_of(model), 0
    out = torch.empty(len(inputs), model.width, device=device)
    for part in inputs.buckets(np.arange(len(inputs)), tokens_per_batch(device)):
        with autocast(device):
            out[torch.from_numpy(part)] = model.item_encoder(*inputs.batch(part, device)).float()
        done += len(part)
        if progress:
            progress(done, len(inputs))
    return out.clone()


@torch.inference_mode()
def lower_states(model: TransRec, tokens: TokenTable, first: int, progress: Progress | None = None) -> Tensor:
    """(all tokens, D) bf16 hidden states below layer `first`, in the table's flat order."""
    encoder, device, done = model.item_encoder.encoder, device_of(model), 0
    out = torch.empty(len(tokens.ids), model.width, dtype=torch.bfloat16, device=device)
    for part in tokens.buckets(np.arange(len(tokens)), tokens_per_batch(device)):
        ids, mask = tokens.batch(part, device)
        with autocast(device):
            hidden = encoder.embeddings(input_ids=ids)  # type: ignore[operator]
            for layer in encoder.encoder.layer[:first]:  # type: ignore[union-attr, index]
                hidden = layer(hidden, mask[:, None, None, :])
        out[torch.from_numpy(_flat(tokens, part))] = hidden[mask].bfloat16()
        done += len(part)
        if progress:
            progress(done, len(tokens))
    return out.clone()


class UpperTower:
    """The encoder from layer `first` up, over cached states of the frozen layers below."""

    def __init__(self, model: TransRec, states: Tensor, tokens: TokenTable, first: int) -> None:
        self.model, self.states, self.tokens, self.first = model, states, tokens, first

    def __call__(self, rows: NDArray[np.int64]) -> Tensor:
        """Encode in length buckets, put back in order."""
        parts = list(self.tokens.buckets(rows, tokens_per_batch(self.states.device)))
        vectors = [self._encode(rows[part]) for part in parts]
        return torch.cat(vectors)[torch.from_numpy(np.argsort(np.concatenate(parts)))]

    @torch.inference_mode()
    def catalogue(self) -> NDArray[np.float32]:
        """All texts, through the layers that are trained only."""
        return self(np.arange(len(self.tokens))).cpu().numpy()

    def _encode(self, rows: NDArray[np.int64]) -> Tensor:
        device, lengths = self.states.device, self.tokens.lengths[rows]
        mask = torch.from_numpy(np.arange(lengths.max()) < lengths[:, None]).to(device)
        hidden = torch.zeros(*mask.shape, self.states.size(1), device=device)
        hidden[mask] = self.states[torch.from_numpy(_flat(self.tokens, rows)).to(device)].float()
        with autocast(device):
            for layer in self.model.item_encoder.encoder.encoder.layer[self.first :]:  # type: ignore[union-attr, index]
                hidden = layer(hidden, mask[:, None, None, :])
            return self.model.project(pool(hidden, mask, self.model.config.pooling)).float()


def _flat(tokens: TokenTable, rows: NDArray[np.int64]) -> NDArray[np.int64]:
    """Flat token positions of the rows, row after row."""
    return np.concatenate([np.arange(tokens.offsets[r], tokens.offsets[r + 1]) for r in rows])
