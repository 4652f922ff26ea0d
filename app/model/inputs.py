"""Item text -> tensors: tokenised once a catalogue, batched by length so that padding is rare."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


@dataclass(frozen=True)
class TokenTable:
    """Ragged token ids of N texts: text i is `ids[offsets[i]:offsets[i + 1]]`."""

    ids: NDArray[np.int32]
    offsets: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @property
    def lengths(self) -> NDArray[np.int64]:
        """(N,) tokens of each text, specials included."""
        return np.diff(self.offsets)

    def batch(self, rows: NDArray[np.int64], device: torch.device | None = None) -> tuple[Tensor, Tensor]:
        """Rows -> (n, T) int64 ids and (n, T) bool mask, T the longest of these rows."""
        lengths = self.lengths[rows]
        mask = np.arange(lengths.max()) < lengths[:, None]  # (n, T)
        out = np.zeros(mask.shape, dtype=np.int64)
        out[mask] = np.concatenate([self.ids[self.offsets[r] : self.offsets[r + 1]] for r in rows])
        return torch.from_numpy(out).to(device), torch.from_numpy(mask).to(device)

    def buckets(self, rows: NDArray[np.int64], max_tokens: int) -> Iterator[NDArray[np.int64]]:
        """Positions into `rows`, sorted by length and cut so that a padded batch has <= max_tokens."""
        order = np.argsort(-self.lengths[rows], kind="stable")
        start = 0
        while start < len(order):
            longest = int(self.lengths[rows[order[start]]])
            stop = start + max(1, max_tokens // longest)
            yield order[start:stop]
            start = stop


def tokenize(tokenizer: Any, texts: Sequence[str], max_tokens: int) -> TokenTable:
    """Texts -> ids of at most `max_tokens` with specials; lower-cased, as TransRec was trained."""
    rows: list[list[int]] = []
    for start in range(0, len(texts), 4096):
        chunk = [text.lower() for text in texts[start : start + 4096]]
        rows += tokenizer(chunk, truncation=True, max_length=max_tokens)["input_ids"]
    offsets = np.cumsum([0, *(len(r) for r in rows)], dtype=np.int64)
    flat = np.fromiter((i for row in rows for i in row), dtype=np.int32, count=int(offsets[-1]))
    return TokenTable(flat, offsets)


@dataclass(frozen=True)
class UniqueTexts:
    """Distinct texts of a catalogue; item i has text `texts[of_item[i]]`, encoded once."""

    texts: list[str]
    of_item: NDArray[np.int64]


def unique_texts(texts: Sequence[str]) -> UniqueTexts:
    """Group items that share a text: they share one vector, exactly."""
    index: dict[str, int] = {}
    of_item = np.fromiter((index.setdefault(t, len(index)) for t in texts), dtype=np.int64, count=len(texts))
    return UniqueTexts(list(index), of_item)
