"""From item ids to what is ranked, and what needs no model: popular and similar items."""

from collections.abc import Iterable, Sequence

import numpy as np

from app.core.errors import NotFound
from app.serving.attributes import Limits
from app.serving.rank import Query, Ranked
from app.serving.release import Bundle

_LISTED = 10
_WALKED = 4096  # rows looked at before the values without room are left out


def query_of(
    bundle: Bundle,
    history_ids: Sequence[str],
    count: int,
    exclude_ids: Iterable[str] = (),
    exclude_seen: bool = True,
    strict: bool = True,
) -> Query:
    """The query for the best `count` items after a history (oldest first).

    Raises `NotFound` for items of the history that are not in the catalogue; without `strict`
    (histories that the service has stored) they are left out.
    """
    rows = bundle.catalog.rows(history_ids)
    history = [row for row in rows if row is not None]
    if strict and len(history) < len(rows):
        raise _unknown(bundle, [i for i, row in zip(history_ids, rows, strict=True) if row is None])
    excluded = {row for row in bundle.catalog.rows(exclude_ids) if row is not None} if exclude_ids else set()
    if exclude_seen:
        excluded.update(history)
    return Query(bundle.folder, history, count, excluded)


def popular(bundle: Bundle, query: Query) -> Ranked:
    """The items with most interactions, which are their scores: for a user without a history."""
    if query.filter or query.at_most:
        rows = _popular_among(bundle, query)
    else:
        head = bundle.popular[: query.count + len(query.excluded)].tolist()
        rows = [row for row in head if row not in query.excluded][: query.count]
    return [(row, float(bundle.counts[row])) for row in rows]


def _popular_among(bundle: Bundle, query: Query) -> list[int]:
    """Rows that meet the filter, as far as there is room for their values."""
    limits, chosen = Limits(bundle.attributes, query.at_most), list[int]()
    allowed = np.ones(bundle.catalog.size, np.bool_)
    if query.filter:
        allowed &= bundle.attributes.mask(query.filter)
    allowed[list(query.excluded)] = False
    for start in range(0, len(allowed), _WALKED):
        rows = bundle.popular[start : start + _WALKED]
        for row in rows[allowed[rows]].tolist():
            if limits.take(row):
                chosen.append(row)
                if len(chosen) == query.count:
                    return chosen
        if query.at_most:
            limits.leave_out(allowed)
    return chosen


def similar(bundle: Bundle, item_id: str, count: int) -> Ranked:
    """The `count` items nearest to an item by cosine, never itself; raises `NotFound`.

    Cosine, not the inner product that ranks for users: there a long vector is wanted by many, so a few
    items with long vectors would be "similar" to everything.
    """
    row = bundle.catalog.rows([item_id])[0]
    if row is None:
        raise NotFound(
            f"There is no item {item_id[:80]!r} in the channel. Check the id, or import it{bundle.needs} "
            "first; it can be found once it is encoded."
        )
    vectors = bundle.vectors
    lengths = np.linalg.norm(vectors, axis=1)  # (N,)
    scores = vectors @ vectors[row] / np.maximum(lengths * lengths[row], 1e-12)
    scores[row] = -np.inf
    best = np.argsort(-scores, kind="stable")[: min(count, len(scores) - 1)]
    return [(int(r), float(scores[r])) for r in best]


def _unknown(bundle: Bundle, ids: Sequence[str]) -> NotFound:
    named = ", ".join(repr(item_id[:80]) for item_id in ids[:_LISTED])
    return NotFound(
        f"{len(ids)} item(s) of the history are not in the catalogue: {named}. "
        f"Import them{bundle.needs} first, or leave them out.",
        unknown=[item_id[:128] for item_id in ids[:_LISTED]],
    )
