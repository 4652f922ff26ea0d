"""Ranks the items of many channels for many users at once: one forward, one search a channel."""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from app.model.bank import Bank
from app.serving.release import Bundle

MANY = 256  # so many excluded rows are fetched on top and left out; for more the index is told

Open = Callable[[Path], Bundle]
Ranked = list[tuple[int, float]]
"""Rows of the catalogue with their scores, best first."""


@dataclass(frozen=True, slots=True, eq=False)
class Query:
    """What to rank: a history of rows, oldest first, not empty; `excluded` rows are left out."""

    folder: Path  # of the release
    history: Sequence[int]
    count: int
    excluded: AbstractSet[int]


def rank(bank: Bank, length: int, open_release: Open, queries: Sequence[Query]) -> list[Ranked]:
    """The best `count` items of each query: fewer only when its catalogue has no more."""
    bundles = {folder: open_release(folder) for folder in {query.folder for query in queries}}
    users = _users(bank, length, queries, bundles)
    answers: list[Ranked] = [[] for _ in queries]
    for rows in _by_search(queries):
        first = queries[rows[0]]
        index = bundles[first.folder].index
        if len(first.excluded) > MANY:
            allowed = np.ones(index.size, np.bool_)
            allowed[list(first.excluded)] = False
            scores, found = index.search(users[rows], first.count, allowed)
        else:
            most = max(queries[row].count + len(queries[row].excluded) for row in rows)
            scores, found = index.search(users[rows], most)
        for row, items, values in zip(rows, found.tolist(), scores.tolist(), strict=True):
            answers[row] = _kept(items, values, queries[row])
    return answers


def _users(
    bank: Bank, length: int, queries: Sequence[Query], bundles: Mapping[Path, Bundle]
) -> NDArray[np.float32]:
    """(B, d + 1): user vectors, then the 1 that meets the items' popularity bias."""
    dim = bundles[queries[0].folder].facts.dim
    e = np.zeros((len(queries), length, dim), np.float32)
    real = np.zeros((len(queries), length), np.bool_)
    for i, query in enumerate(queries):
        history = query.history[-length:]
        e[i, -len(history) :] = bundles[query.folder].vectors[history]
        real[i, -len(history) :] = True
    states = bank.users(
        [bundles[query.folder].adapter for query in queries], torch.from_numpy(e), torch.from_numpy(real)
    )
    users = np.ones((len(queries), dim + 1), np.float32)
    users[:, :-1] = states.cpu().numpy()
    return users


def _by_search(queries: Sequence[Query]) -> list[list[int]]:
    """Queries that one search of an index can answer: those of one release, if they exclude little."""
    groups: defaultdict[tuple[Path, int], list[int]] = defaultdict(list)
    for i, query in enumerate(queries):
        groups[query.folder, i if len(query.excluded) > MANY else -1].append(i)
    return list(groups.values())


def _kept(rows: list[int], scores: list[float], query: Query) -> Ranked:
    excluded = query.excluded
    return [(row, score) for row, score in zip(rows, scores, strict=True) if row not in excluded][
        : query.count
    ]
