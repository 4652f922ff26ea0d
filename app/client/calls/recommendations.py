"""Recommendations and similar items."""

from collections.abc import Mapping, Sequence
from typing import Any

from app.api.schemas.recommendations import (
    BatchOut,
    BatchRequest,
    NextRequest,
    PreviewOut,
    PreviewRequest,
    RecommendationOut,
    RecommendationRequest,
    SimilarOut,
)
from app.client.call import CHANNELS, Call, at, one
from app.core.attribution import Variant


def recommend(
    channel: str,
    *,
    user_id: str | None = None,
    history: Sequence[str] | None = None,
    count: int = 10,
    filter: Mapping[str, Any] | None = None,  # noqa: A002 - the API's word
    at_most: Mapping[str, int] | None = None,
    exclude_item_ids: Sequence[str] = (),
    exclude_seen: bool = True,
    paged: bool = False,
) -> Call[RecommendationOut]:
    """The next items for a user, or after a history of item ids, oldest first: exactly one of the two."""
    asked = _asked(user_id, history, count, filter, at_most, exclude_item_ids, exclude_seen)
    body = RecommendationRequest.model_validate(asked | {"paged": paged})
    return Call("POST", _path(channel), one(RecommendationOut), body, same_twice=True)


def next_page(channel: str, recommendation_id: str, count: int | None = None) -> Call[RecommendationOut]:
    """The next best items after an answer that was `paged`, none shown before; no items at the end."""
    path = _path(channel, recommendation_id, "next")
    return Call("POST", path, one(RecommendationOut), NextRequest(count=count), same_twice=True)


def recommend_batch(
    channel: str, requests: Sequence[Mapping[str, Any] | RecommendationRequest]
) -> Call[BatchOut]:
    """At most 100 recommendations at once; each has an outcome of its own, in order."""
    entries = [
        each.model_dump(by_alias=True, exclude_unset=True)
        if isinstance(each, RecommendationRequest)
        else each
        for each in requests
    ]
    body = BatchRequest(requests=entries)
    return Call("POST", _path(channel, "batch"), one(BatchOut), body, same_twice=True)


def preview(
    channel: str,
    *,
    variant: Variant | None = None,
    version: int | None = None,
    user_id: str | None = None,
    history: Sequence[str] | None = None,
    count: int = 10,
    filter: Mapping[str, Any] | None = None,  # noqa: A002 - the API's word
    at_most: Mapping[str, int] | None = None,
    exclude_item_ids: Sequence[str] = (),
    exclude_seen: bool = True,
) -> Call[PreviewOut]:
    """What the champion, the challenger or another version would recommend; it counts nowhere."""
    asked = _asked(user_id, history, count, filter, at_most, exclude_item_ids, exclude_seen)
    body = PreviewRequest.model_validate(asked | {"variant": variant, "version": version})
    return Call("POST", _path(channel, "preview"), one(PreviewOut), body, same_twice=True)


def similar(channel: str, item_id: str, count: int = 10) -> Call[SimilarOut]:
    """The items whose vectors point the same way, nearest first."""
    path = at(CHANNELS, channel, "items", item_id, "similar")
    return Call("GET", path, one(SimilarOut), query={"count": count})


def _asked(
    user_id: str | None,
    history: Sequence[str] | None,
    count: int,
    wanted: Mapping[str, Any] | None,
    at_most: Mapping[str, int] | None,
    exclude_item_ids: Sequence[str],
    exclude_seen: bool,
) -> dict[str, Any]:
    """What a recommendation and a preview are asked alike."""
    return {
        "user_id": user_id,
        "history": None if history is None else [*history],
        "count": count,
        "filter": wanted or {},
        "at_most": at_most or {},
        "exclude_item_ids": [*exclude_item_ids],
        "exclude_seen": exclude_seen,
    }


def _path(channel: str, *parts: str) -> str:
    return at(CHANNELS, channel, "recommendations", *parts)
