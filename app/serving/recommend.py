"""Recommendations and similar items out of a bundle."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from app.core.errors import NotFound
from app.model.encode import encode_histories
from app.serving.release import Bundle

Reason = Literal["model", "cold_start", "similar"]
_LISTED = 10


@dataclass(frozen=True, slots=True)
class Recommended:
    """One answer. `score`: the model's, for `cold_start` the number of interactions, else the cosine."""

    item_id: str
    score: float
    reason: Reason
    metadata: dict[str, Any]


def recommend(
    bundle: Bundle,
    history_ids: Sequence[str],
    count: int,
    exclude_ids: Collection[str] = (),
    exclude_seen: bool = True,
    strict: bool = True,
) -> list[Recommended]:
    """The best `count` items after a history (oldest first): fewer only when the catalogue has no more.

    Raises `NotFound` for items of the history that are not in the catalogue; without `strict`
    (histories that the service has stored) they are left out. An empty history gets what is popular.
    """
    history = history_rows(bundle, history_ids, strict)
    excluded = {bundle.row_of[i] for i in exclude_ids if i in bundle.row_of}
    if exclude_seen:
        excluded |= set(history)
    if not history:
        return _popular(bundle, count, excluded)
    return _by_model(bundle, history, count, excluded)


def history_rows(bundle: Bundle, item_ids: Sequence[str], strict: bool) -> list[int]:
    """Item ids -> rows; `strict` raises `NotFound` that names the first unknown ones."""
    unknown = [item_id for item_id in item_ids if item_id not in bundle.row_of] if strict else []
    if unknown:
        named = ", ".join(repr(item_id[:80]) for item_id in unknown[:_LISTED])
        raise NotFound(
            f"{len(unknown)} item(s) of the history are not in the catalogue: {named}. "
            f"Import them{_with_image(bundle)} first, or leave them out.",
            unknown=[item_id[:128] for item_id in unknown[:_LISTED]],
        )
    return [bundle.row_of[item_id] for item_id in item_ids if item_id in bundle.row_of]


def similar(bundle: Bundle, item_id: str, count: int) -> list[Recommended]:
    """The `count` items nearest to an item by cosine, never itself; raises `NotFound`.

    Cosine, not the inner product that ranks for users: there a long vector is wanted by many, so a few
    items with long vectors would be "similar" to everything.
    """
    if item_id not in bundle.row_of:
        raise NotFound(
            f"There is no item {item_id[:80]!r} in the channel. Check the id, or import it"
            f"{_with_image(bundle)} first."
        )
    row = bundle.row_of[item_id]
    mine = int(bundle.of_item[row])
    cosines = (bundle.vectors @ bundle.vectors[mine]).cpu().numpy()
    cosines /= np.maximum(bundle.norms * bundle.norms[mine], 1e-12)
    scores = cosines[bundle.of_item]  # (N,)
    scores[row] = -np.inf
    best = np.argsort(-scores, kind="stable")[: min(count, len(scores) - 1)]
    return [_recommended(bundle, int(r), float(scores[r]), "similar") for r in best]


def _with_image(bundle: Bundle) -> str:
    return "" if bundle.model.config.image_size is None else ", with its image,"


def _by_model(bundle: Bundle, history: list[int], count: int, excluded: set[int]) -> list[Recommended]:
    texts = bundle.of_item[history].tolist()
    # One history is too small for torch to split, so requests side by side do not compete: no lock.
    user = encode_histories(bundle.model, bundle.vectors, [texts])
    user = np.column_stack([user, np.ones(1, dtype=np.float32)])  # meets the items' popularity bias
    # As many more as are left out: whatever they are, `count` remain.
    scores, rows = bundle.index.search(user, count + len(excluded))
    found = zip(rows[0].tolist(), scores[0].tolist(), strict=True)
    kept = [(row, score) for row, score in found if row >= 0 and row not in excluded]
    return [_recommended(bundle, row, score, "model") for row, score in kept[:count]]


def _popular(bundle: Bundle, count: int, excluded: set[int]) -> list[Recommended]:
    head = bundle.popular[: count + len(excluded)].tolist()
    kept = [row for row in head if row not in excluded][:count]
    return [_recommended(bundle, row, float(bundle.counts[row]), "cold_start") for row in kept]


def _recommended(bundle: Bundle, row: int, score: float, reason: Reason) -> Recommended:
    item = bundle.items[row]
    # The text last: an attribute of that name must not hide it.
    return Recommended(item.item_id, score, reason, {**item.attributes, "text": item.text})
