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
from app.serving.attributes import AtMost, Limits, Mask
from app.serving.release import Bundle

MANY = 256  # so many excluded rows are fetched on top and left out; for more the index is told
SPARE = 4  # times what is still wanted is fetched where items of one value are limited

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
    filter: str = ""  # its canonical text
    at_most: AtMost = ()


def rank(bank: Bank, length: int, open_release: Open, queries: Sequence[Query]) -> list[Ranked]:
    """The best `count` items of each query: fewer only when its catalogue has no more."""
    bundles = {folder: open_release(folder) for folder in {query.folder for query in queries}}
    users = _users(bank, length, queries, bundles)
    answers: list[Ranked] = [[] for _ in queries]
    for rows in _by_search(queries):
        first = queries[rows[0]]
        bundle = bundles[first.folder]
        if first.at_most:
            answers[rows[0]] = _limited(bundle, users[rows], first)
            continue
        most = max(queries[row].count + _extra(queries[row]) for row in rows)
        scores, found = bundle.index.search(users[rows], most, _allowed(bundle, first))
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
    """Queries that one search of an index can answer: those of one release and one filter, if they exclude
    little and limit nothing.
    """
    groups: defaultdict[tuple[Path, str, int], list[int]] = defaultdict(list)
    for i, query in enumerate(queries):
        alone = query.at_most or _has_many(query)
        groups[query.folder, query.filter, i if alone else -1].append(i)
    return list(groups.values())


def _has_many(query: Query) -> bool:
    return len(query.excluded) > MANY


def _extra(query: Query) -> int:
    """How many rows are fetched on top, as the index is not told to leave them out."""
    return 0 if _has_many(query) else len(query.excluded)


def _allowed(bundle: Bundle, query: Query) -> Mask | None:
    """What the index is told: the filter's items (N,), without the excluded ones if they are many."""
    mask = bundle.attributes.mask(query.filter) if query.filter else None
    if not _has_many(query):
        return mask
    allowed = np.ones(bundle.index.size, np.bool_) if mask is None else mask.copy()
    allowed[list(query.excluded)] = False
    return allowed


def _kept(rows: list[int], scores: list[float], query: Query) -> Ranked:
    excluded = query.excluded
    return [(row, score) for row, score in zip(rows, scores, strict=True) if row not in excluded][
        : query.count
    ]


def _limited(bundle: Bundle, user: NDArray[np.float32], query: Query) -> Ranked:
    """The best items greedily, as far as there is room for their values; `user` (1, d + 1)."""
    limits, answer = Limits(bundle.attributes, query.at_most), Ranked()
    allowed, spare, extra = _allowed(bundle, query), SPARE, _extra(query)
    while True:
        wanted = spare * (query.count - len(answer)) + extra
        scores, found = bundle.index.search(user, wanted, allowed)
        for row, score in zip(found[0].tolist(), scores[0].tolist(), strict=True):
            if len(answer) < query.count and row not in query.excluded and limits.take(row):
                answer.append((row, score))
        if len(answer) == query.count or found.shape[1] < wanted:
            # An approximate index may find a better item late.
            return sorted(answer, key=lambda ranked: -ranked[1])
        # Each search leaves out what the ones before have found, and the values that have no room left.
        allowed = np.ones(bundle.index.size, np.bool_) if allowed is None else allowed.copy()
        allowed[[*query.excluded, *found[0]]] = False
        limits.leave_out(allowed)
        spare, extra = 2 * spare, 0
