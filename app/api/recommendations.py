"""Recommendations: the hot path. While it is warm, a request meets no database and copies nothing twice."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated, Any, cast

from fastapi import APIRouter, Body, Request, Response
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import State

from app.api.batches import outcomes
from app.api.deps import TenantQuery
from app.api.direct import SECURITY, DirectRoute, parsed
from app.api.door import remembered
from app.api.limits import check_count, check_history
from app.api.pages import Page, keep_page, page_of
from app.api.schemas.recommendations import (
    BatchOut,
    BatchRequest,
    NextRequest,
    RecommendationOut,
    RecommendationRequest,
)
from app.core import metrics
from app.core.attribution import Variant, new_recommendation_id
from app.serving.engine import Engine
from app.serving.filters import canonical
from app.serving.rank import Query, Ranked
from app.serving.recommend import popular, query_of
from app.serving.release import Bundle, Release
from app.store.histories import Histories

router = APIRouter(
    prefix="/v1/channels/{channel}/recommendations", tags=["recommendations"], route_class=DirectRoute
)
_REQUIRED: dict[str, Any] = {**SECURITY, "requestBody": {"required": True}}
_DOCUMENTED = cast(Any, None)  # bodies are declared for the documentation, and read where access is known


@router.post("", response_model=RecommendationOut, openapi_extra=_REQUIRED)
async def create_recommendation(
    request: Request,
    channel: str,
    tenant: TenantQuery = None,
    _body: Annotated[RecommendationRequest, Body()] = _DOCUMENTED,
) -> Response:
    """Recommend the next items to a user, or after a history; always `count` if there are so many.

    A user without a history gets what is popular, with the reason `cold_start`.
    """
    channel_id = (await remembered(request, tenant, channel)).channel_id
    body = parsed(RecommendationRequest, await request.body())
    return _json(await _recommend(request.app.state, channel_id, body))


@router.post("/batch", response_model=BatchOut, openapi_extra=_REQUIRED)
async def create_recommendations(
    request: Request,
    channel: str,
    tenant: TenantQuery = None,
    _body: Annotated[BatchRequest, Body()] = _DOCUMENTED,
) -> Response:
    """Recommend to at most 100 users or after as many histories, 5,000 items in all.

    Each entry has an outcome of its own, in order: its recommendations, or the problem with it.
    """
    state, access = request.app.state, await remembered(request, tenant, channel)
    entries = parsed(BatchRequest, await request.body()).requests
    for _ in entries[1:]:  # each counts
        await state.rates.spend(access.principal.tenant_id)
    share = min(batcher.share for batcher in state.engine.batchers.values())
    return _json(await outcomes(entries, share, lambda body: _recommend(state, access.channel_id, body)))


@router.post("/{recommendation_id}/next", response_model=RecommendationOut, openapi_extra=SECURITY)
async def create_next_recommendation(
    request: Request,
    channel: str,
    recommendation_id: str,
    tenant: TenantQuery = None,
    _body: Annotated[NextRequest, Body()] = _DOCUMENTED,
) -> Response:
    """Go on from an answer that was `paged`: the next best items, none that a page before has shown.

    No items are left when the list is empty.
    """
    channel_id = (await remembered(request, tenant, channel)).channel_id
    count = parsed(NextRequest, await request.body() or b"{}").count
    page = await page_of(request.app.state.pages, channel_id, recommendation_id, count)
    return _json(await _recommend(request.app.state, channel_id, page.request, page))


async def _recommend(
    state: State, channel_id: str, body: RecommendationRequest, page: Page | None = None
) -> bytes:
    """A `RecommendationOut`; one that goes on from a `page` shows nothing that it has shown."""
    check_count(state.settings, body.count)
    check_history(state.settings, body.history)
    engine: Engine = state.engine
    # Taken once: whatever is swapped meanwhile, the answer is from one release.
    variant, release = engine.pick(channel_id, body.user_id or body.history)
    bundle = engine.host.get(release.folder)
    if bundle is None:
        bundle = await run_in_threadpool(engine.open, release)
    history: Sequence[str] | None = body.history
    if history is None:
        history = await stored_history(state.histories, engine, channel_id, body.user_id or "")
    # An item of the history that a page before has known may be gone by now.
    query = query_for(bundle, history, body, page, strict=body.user_id is None and page is None)
    if query.history:
        ranked, reason = await engine.batchers[release.modality].ask(channel_id, query), b"model"
        state.shadow.offer(
            channel_id, variant, (bundle, ranked), lambda other: query_for(other, history, body, page)
        )
    else:
        ranked, reason = await popular_for(bundle, query), b"cold_start"
    recommendation_id = new_recommendation_id(variant, release.version)
    paged = body.paged and await keep_page(
        state.pages,
        channel_id,
        recommendation_id,
        body,
        page,
        [bundle.catalog.item_id(row) for row, _ in ranked],
    )
    state.traffic.answered(channel_id, release.version, variant)
    return _answer(recommendation_id, variant, release, bundle, ranked, reason, paged)


async def stored_history(
    histories: Histories, engine: Engine, channel_id: str, user_id: str
) -> Sequence[str]:
    """The user's newest items, oldest first: from memory, Redis or the database."""
    revision = engine.events_revision(channel_id)
    history = histories.cached(channel_id, revision, user_id)
    return await histories.get(channel_id, revision, user_id) if history is None else history


def query_for(
    bundle: Bundle,
    history: Sequence[str],
    body: RecommendationRequest,
    page: Page | None,
    strict: bool = False,
) -> Query:
    """What the model's process is asked; raises `Invalid` for an unknown attribute or, if `strict`, item."""
    excluded = body.exclude_item_ids if page is None else [*body.exclude_item_ids, *page.shown]
    query = query_of(bundle, history, body.count, excluded, body.exclude_seen, strict)
    if body.filter or body.at_most:
        bundle.attributes.check([*body.filter, *body.at_most])
        query = replace(query, filter=canonical(body.filter), at_most=tuple(body.at_most.items()))
    return query


async def popular_for(bundle: Bundle, query: Query) -> Ranked:
    """The answer where there is no history."""
    if query.filter or query.at_most:  # looks at the whole catalogue
        return await run_in_threadpool(popular, bundle, query)
    return popular(bundle, query)


def _answer(
    recommendation_id: str,
    variant: Variant,
    release: Release,
    bundle: Bundle,
    ranked: Ranked,
    reason: bytes,
    paged: bool,
) -> bytes:
    """A `RecommendationOut`, put together from JSON that lies ready in the release."""
    metrics.recommended(variant, reason.decode())
    items = b",".join(
        b'%b,"score":%.7g,"reason":"%b"}' % (bundle.catalog.json(row)[:-1], score, reason)
        for row, score in ranked
    )
    return b'{"recommendation_id":"%b","release":%b,"variant":"%b","paged":%b,"items":[%b]}' % (
        recommendation_id.encode(),
        release.json,
        variant.encode(),
        b"true" if paged else b"false",
        items,
    )


def _json(body: bytes) -> Response:
    return Response(body, media_type="application/json")
