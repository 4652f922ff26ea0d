"""A channel as training sees it, and its leave-one-out split.

Of each user the last L + 3 interactions s are kept: train on s[:-2], validate on s[-2], test on s[-1].
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from app.core.errors import Invalid
from app.model.inputs import Content, Contents, distinct_contents

Stage = Literal["validation", "test"]
MIN_INTERACTIONS = 5  # a user with fewer cannot be split
MIN_USERS = 20  # fewer evaluation users than this say nothing about an adapter


@dataclass(frozen=True)
class Corpus:
    """Items by row, their texts or encoded images, and each user's window of item rows, oldest first."""

    name: str
    item_ids: list[str]
    contents: Contents[Any]
    windows: list[NDArray[np.int64]]
    length: int
    group_of: NDArray[np.int64] | None = None
    """(U,) users of one group share their batches; None: all users do."""

    @property
    def n_items(self) -> int:
        """Items of the catalogue, with and without interactions."""
        return len(self.item_ids)

    def train(self, user: int) -> NDArray[np.int64]:
        """At most L + 1 item rows: L inputs, each with its next item."""
        return self.windows[user][:-2]

    def history(self, user: int, stage: Stage) -> NDArray[np.int64]:
        """What is known of the user when the stage's target is asked for."""
        return self.windows[user][: -2 if stage == "validation" else -1]

    def targets(self, stage: Stage) -> NDArray[np.int64]:
        """(U,) the item row to be predicted for each user."""
        return np.array([w[-2 if stage == "validation" else -1] for w in self.windows], dtype=np.int64)

    def train_counts(self) -> NDArray[np.int64]:
        """(N,) interactions of each item inside the training windows: popularity, and the q of logQ."""
        return np.bincount(np.concatenate([w[:-2] for w in self.windows]), minlength=self.n_items)


def build_corpus(
    name: str,
    items: Mapping[str, Content],
    sequences: Mapping[str, Sequence[str]],
    length: int,
    min_users: int = MIN_USERS,
) -> Corpus:
    """Items (id -> text or encoded image) and sequences (user -> item ids, oldest first) -> a corpus.

    Raises `Invalid` with the numbers when too few users have enough interactions.
    """
    row = {item: i for i, item in enumerate(items)}
    windows = [
        np.array([row[i] for i in sequence[-(length + 3) :]], dtype=np.int64)
        for sequence in sequences.values()
        if len(sequence) >= MIN_INTERACTIONS
    ]
    if len(windows) < min_users:
        raise Invalid(
            f"Too little data to train on: {len(windows)} user(s) with at least {MIN_INTERACTIONS} "
            f"interactions, {min_users} are needed ({len(items)} items, {len(sequences)} users in all). "
            "Import more interactions; until then the channel answers with the bare backbone.",
            users=len(windows),
            users_needed=min_users,
            interactions_per_user_needed=MIN_INTERACTIONS,
        )
    return Corpus(name, list(items), distinct_contents(list(items.values())), windows, length)


@dataclass(frozen=True)
class Batch:
    """B users: `rows` (B, L) index `items` (N,), the batch's distinct item rows; `target` likewise."""

    items: NDArray[np.int64]
    rows: NDArray[np.int64]
    target: NDArray[np.int64]
    real: NDArray[np.bool_]


def make_batch(corpus: Corpus, users: NDArray[np.int64]) -> Batch:
    """Pad on the left, renumber items within the batch so that each is encoded once."""
    windows = [corpus.train(u) for u in users]
    items, inverse = np.unique(np.concatenate(windows), return_inverse=True)
    rows = np.zeros((len(users), corpus.length), dtype=np.int64)
    target, real = rows.copy(), np.zeros(rows.shape, dtype=np.bool_)
    start = 0
    for i, window in enumerate(windows):
        n, numbers = len(window) - 1, inverse[start : start + len(window)]
        rows[i, -n:], target[i, -n:], real[i, -n:] = numbers[:-1], numbers[1:], True
        start += len(window)
    return Batch(items, rows, target, real)


def epoch_batches(corpus: Corpus, batch_users: int, seed: int, epoch: int) -> Iterator[Batch]:
    """Every user once, in an order fixed by (seed, epoch).

    The order depends on nothing else, so a resumed run sees what the interrupted one would have seen.
    """
    rng = np.random.default_rng([seed, epoch])
    order = rng.permutation(len(corpus.windows))
    if corpus.group_of is None:
        chunks = _chunks(order, batch_users)
    else:
        groups = [order[corpus.group_of[order] == group] for group in np.unique(corpus.group_of)]
        chunks = [chunk for group in groups for chunk in _chunks(group, batch_users)]
        rng.shuffle(chunks)
    for users in chunks:
        yield make_batch(corpus, users)


def steps_per_epoch(corpus: Corpus, batch_users: int) -> int:
    """Batches that `epoch_batches` yields."""
    users = [len(corpus.windows)] if corpus.group_of is None else np.bincount(corpus.group_of)
    return sum(-(-int(n) // batch_users) for n in users)


def _chunks(users: NDArray[np.int64], size: int) -> list[NDArray[np.int64]]:
    return [users[start : start + size] for start in range(0, len(users), size)]


def merge(name: str, corpora: Sequence[Corpus], apart: bool = False) -> Corpus:
    """Several channels as one: their users side by side.

    A batch holds users of any channel, each channel's items being negatives for the others; with `apart`,
    users of one channel only, which asks for more than to tell a film from a lipstick.
    """
    ids: list[str] = []
    contents: list[Any] = []
    windows: list[NDArray[np.int64]] = []
    for corpus in corpora:
        windows += [window + len(ids) for window in corpus.windows]
        ids += [f"{corpus.name}/{item}" for item in corpus.item_ids]
        contents += [corpus.contents.distinct[c] for c in corpus.contents.of_item]
    merged = Corpus(name, ids, distinct_contents(contents), windows, corpora[0].length)
    groups = np.repeat(np.arange(len(corpora)), [len(corpus.windows) for corpus in corpora])
    return replace(merged, group_of=groups) if apart else merged
