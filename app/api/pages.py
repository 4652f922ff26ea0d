"""Recommendations page by page: what is kept of one, so that the next shows nothing twice."""

from collections.abc import Sequence

from pydantic import BaseModel, ValidationError

from app.api.schemas.recommendations import RecommendationRequest
from app.core.attribution import origin_of
from app.core.errors import Conflict
from app.store.pages import Pages, away, no_page

MOST_SHOWN = 10_000


class Page(BaseModel):
    """What was asked for, and the ids of all items that its pages have shown."""

    request: RecommendationRequest
    shown: list[str]


async def page_of(pages: Pages, channel_id: str, recommendation_id: str, count: int | None) -> Page:
    """The page to go on from, with the next one's count.

    Raises `NotFound`, `Unavailable` while Redis is away, and `Conflict` at the end of the longest chain.
    """
    if origin_of(recommendation_id) is None:
        raise no_page(recommendation_id)
    try:
        page = Page.model_validate_json(await pages.get(channel_id, recommendation_id))
    except ValidationError as error:  # of another version of the service
        raise no_page(recommendation_id) from error
    if count is not None:
        page.request.count = count
    if len(page.shown) + page.request.count > MOST_SHOWN:
        raise Conflict(
            f"Pages show at most {MOST_SHOWN} items, and {len(page.shown)} were shown. "
            "Ask for fewer, or start again with a filter."
        )
    return page


async def keep_page(
    pages: Pages,
    channel_id: str,
    recommendation_id: str,
    request: RecommendationRequest,
    before: Page | None,
    item_ids: Sequence[str],
) -> bool:
    """Keep what the next page must know; False for a first page while Redis is away.

    Raises `Unavailable` for a later one, which can be asked for again.
    """
    page = Page(request=request, shown=[*(before.shown if before else ()), *item_ids])
    state = page.model_dump_json(by_alias=True, exclude_none=True)
    kept = await pages.keep(channel_id, recommendation_id, state.encode())
    if before is not None and not kept:
        raise away()
    return kept
