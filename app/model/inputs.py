"""Item content -> tensors: texts tokenised once and batched by length, images decoded when needed."""

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Generic, Protocol, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from app.core.images import decode_rgb

Content = TypeVar("Content", str, bytes)


class Inputs(Protocol):
    """The content of N items, ready for an item encoder."""

    def __len__(self) -> int:
        """N."""

    @property
    def lengths(self) -> NDArray[np.int64]:
        """(N,) tokens of each content, as the encoder reads it."""

    def buckets(
        self, rows: NDArray[np.int64], max_tokens: int, prompt: int = 0
    ) -> Iterator[NDArray[np.int64]]:
        """Positions into `rows`, cut so that a batch has at most `max_tokens` tokens, padding included.

        `prompt` is how many learned tokens the model reads beside each content's own.
        """

    def batch(self, rows: NDArray[np.int64], device: torch.device | None = None) -> tuple[Tensor, ...]:
        """Rows (n,) -> what `TransRec.items` takes."""


class Reader(Protocol):
    """What turns contents into the inputs of one backbone."""

    def __call__(self, contents: Sequence[Any]) -> Inputs:
        """N texts or N encoded images -> their inputs."""

    def facts(self) -> dict[str, Any]:
        """What it does to them, as plain JSON values: part of a backbone's fingerprint."""


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

    def buckets(
        self, rows: NDArray[np.int64], max_tokens: int, prompt: int = 0
    ) -> Iterator[NDArray[np.int64]]:
        """Positions into `rows`, sorted by length and cut so that a padded batch has <= max_tokens."""
        order = np.argsort(-self.lengths[rows], kind="stable")
        start = 0
        while start < len(order):
            longest = int(self.lengths[rows[order[start]]]) + prompt
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
class TextReader:
    """Texts for one tokenizer."""

    tokenizer: Any
    max_tokens: int

    def __call__(self, contents: Sequence[str]) -> TokenTable:
        """Tokenise."""
        return tokenize(self.tokenizer, contents, self.max_tokens)

    def facts(self) -> dict[str, Any]:
        """The vocabulary: how a tokenizer is written to disk changes with its library, this does not."""
        vocabulary = json.dumps(self.tokenizer.get_vocab(), sort_keys=True)
        return {"vocabulary": hashlib.sha256(vocabulary.encode()).hexdigest()}


@dataclass(frozen=True)
class ImageReader:
    """Images at one size, normalised as their encoder was trained: (pixel / 255 - mean) / std."""

    size: tuple[int, int]  # (height, width)
    patch: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    resample: int = Image.Resampling.BICUBIC

    def __call__(self, contents: Sequence[bytes]) -> "ImageTable":
        """Nothing is decoded yet."""
        return ImageTable(contents, self)

    def facts(self) -> dict[str, Any]:
        """All of it."""
        return asdict(self)


@dataclass(frozen=True)
class ImageTable:
    """N encoded images; decoded a batch at a time, so memory holds only what was uploaded."""

    images: Sequence[bytes]
    reader: ImageReader

    def __len__(self) -> int:
        return len(self.images)

    @property
    def lengths(self) -> NDArray[np.int64]:
        """(N,) tokens of each image: its patches and [CLS]."""
        height, width = self.reader.size
        tokens = (height // self.reader.patch) * (width // self.reader.patch) + 1
        return np.full(len(self.images), tokens, dtype=np.int64)

    def buckets(
        self, rows: NDArray[np.int64], max_tokens: int, prompt: int = 0
    ) -> Iterator[NDArray[np.int64]]:
        """Positions into `rows`, in order."""
        size = max(1, max_tokens // (int(self.lengths[0]) + prompt)) if len(rows) else 1
        for start in range(0, len(rows), size):
            yield np.arange(start, min(start + size, len(rows)))

    def batch(self, rows: NDArray[np.int64], device: torch.device | None = None) -> tuple[Tensor]:
        """Rows -> (n, 3, height, width) float32."""
        pixels = torch.from_numpy(np.stack([self._pixels(int(row)) for row in rows])).to(device)
        mean, std = (
            torch.tensor(v, device=device).view(3, 1, 1) for v in (self.reader.mean, self.reader.std)
        )
        return ((pixels.float() / 255 - mean) / std,)

    def _pixels(self, row: int) -> NDArray[np.uint8]:
        height, width = self.reader.size
        image = decode_rgb(self.images[row]).resize((width, height), Image.Resampling(self.reader.resample))
        return np.asarray(image, dtype=np.uint8).transpose(2, 0, 1)


@dataclass(frozen=True)
class Contents(Generic[Content]):
    """Distinct contents of a catalogue; item i has `distinct[of_item[i]]`, encoded once."""

    distinct: list[Content]
    of_item: NDArray[np.int64]


def distinct_contents(contents: Sequence[Content]) -> Contents[Content]:
    """Group items that share a text or an image: they share one vector, exactly."""
    index: dict[Content, int] = {}
    of_item = np.fromiter(
        (index.setdefault(c, len(index)) for c in contents), dtype=np.int64, count=len(contents)
    )
    return Contents(list(index), of_item)
