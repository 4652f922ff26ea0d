"""Answers as rows, for data frames."""

from typing import Any

from app.api.schemas.recommendations import RecommendationOut, SimilarOut


def rows(answer: RecommendationOut | SimilarOut) -> list[dict[str, Any]]:
    """A dict an item, best first: `pandas.DataFrame(rows(answer))`, `polars.DataFrame(rows(answer))`.

    It has `rank`, `item_id`, `score`, `reason`, then the item's `text` and attributes of other names.
    """
    found = []
    for rank, item in enumerate(answer.items, start=1):
        own = {"rank": rank, "item_id": item.item_id, "score": item.score, "reason": item.reason}
        found.append(own | item.metadata | own)
    return found
