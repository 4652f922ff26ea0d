"""The yardstick: training as the released code of the paper does it (model.md, section 4), written plainly.

The same model and the same loss as ours, and every waste of the original: each position and each negative is
encoded, padding included; titles are padded to `max_tokens`; everything is fp32; the catalogue is encoded
once for the validation and once for the test split; users are ranked one after the other by a full sort.
"""

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from app.model.losses import sasrec_bce
from app.model.transrec import TransRec
from training.dataset import Batch, Stage
from training.finetune import Subject

CHUNK = 128  # contents of one forward over the catalogue


class Reference:
    """One channel's model under training; `step` and `epoch_end` are what an epoch is made of."""

    def __init__(self, on: Subject, model: TransRec, learning_rate: float = 1e-3) -> None:
        self.model, self.corpus = model, on.corpus
        ids, mask = on.inputs.batch(np.arange(len(on.inputs)))
        longest = model.config.max_tokens + 2 - ids.size(1)  # with [CLS] and [SEP]
        self.ids, self.mask = (torch.nn.functional.pad(t, (0, max(0, longest))) for t in (ids, mask))
        self.optimizer = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], learning_rate)

    def step(self, batch: Batch, negative: NDArray[np.int64]) -> float:
        """One step on B users; `negative` (B, L) are item rows. Returns the loss."""
        self.model.train()
        self.model.item_encoder.eval()
        loss = self.loss(batch, negative)
        self.optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        self.optimizer.step()
        return loss.item()

    def loss(self, batch: Batch, negative: NDArray[np.int64]) -> Tensor:
        """Encode 2 (L + 1) items a user: its window and as many negatives, padding too."""
        b, length = batch.rows.shape
        window = np.concatenate([batch.rows, batch.target[:, -1:]], axis=1)  # (B, L + 1) rows of the batch
        positives = batch.items[window]
        negatives = np.concatenate([negative, negative[:, -1:]], axis=1)  # (B, L + 1)
        contents = self.corpus.contents.of_item[np.stack([positives, negatives], axis=2)]  # (B, L + 1, 2)
        vectors = self._encode(torch.from_numpy(contents.reshape(-1))).view(b, length + 1, 2, -1)
        real = torch.from_numpy(batch.real)
        states = self.model.users(vectors[:, :-1, 0], real)  # (B, L, d)
        return sasrec_bce(states[real], vectors[:, 1:, 0][real], vectors[:, :-1, 1][real])

    def epoch_end(self) -> Iterator[float]:
        """HR@10 on validation, then on test, each over a catalogue encoded anew."""
        self.model.eval()
        stages: tuple[Stage, ...] = ("validation", "test")
        for stage in stages:
            with torch.no_grad():
                vectors = self.catalogue()[torch.from_numpy(self.corpus.contents.of_item)]
                yield self._rank(vectors, stage)

    def catalogue(self) -> Tensor:
        """(distinct contents, d)."""
        rows = torch.arange(len(self.ids))
        return torch.cat([self._encode(rows[n : n + CHUNK]) for n in range(0, len(rows), CHUNK)])

    def _encode(self, rows: Tensor) -> Tensor:
        return self.model.items(self.ids[rows], self.mask[rows])

    def _rank(self, vectors: Tensor, stage: Stage) -> float:
        hits, length = 0, self.corpus.length
        targets = self.corpus.targets(stage)
        for user, target in enumerate(targets):
            history = self.corpus.history(user, stage)[-length:]
            padded = np.zeros(length, dtype=np.int64)
            padded[length - len(history) :] = history
            real = torch.arange(length) >= length - len(history)
            state = self.model.users(vectors[torch.from_numpy(padded)][None], real[None])[0, -1]
            scores = vectors @ state
            scores[torch.from_numpy(np.setdiff1d(history, [target]))] = -torch.inf
            order = scores.argsort(descending=True)
            hits += int((order[:10] == target).any())
        return hits / len(targets)
