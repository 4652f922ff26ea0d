"""Recommendations: the hot path. While it is warm, a request meets no database and copies nothing twice."""

from collections.abc import Callable, Coroutine, Sequence
from typing import Any, cast

from fastapi import APIRouter, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from pydantic import ValidationError
from starlette.concurrency import run_in_threadpool

from app.api.deps import TenantQuery, secret_of
from app.api.limits import check_count, check_history
from app.api.schemas import RecommendationOut, RecommendationRequest
from app.core.ids import new_id
from app.serving.engine import Engine
from app.serving.rank import Ranked
from app.serving.recommend import popular, query_of
from app.serving.release import Bundle, Release
from app.store.access import RememberedAccess
from app.store.histories import Histories
from app.store.tenants import Role


class DirectRoute(APIRoute):
    """A route whose handler reads its request by itself; what it declares is for the documentation.

    FastAPI's solving of dependencies and models takes longer than all the rest of a request.
    """

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """As FastAPI's, which it replaces: `Request` -> `Response`."""

        async def handle(request: Request) -> Response:
            tenant = request.query_params.get("tenant")
            return cast(Response, await self.endpoint(request, request.path_params["channel"], tenant))

        return handle


router = APIRouter(
    prefix="/v1/channels/{channel}/recommendations", tags=["recommendations"], route_class=DirectRoute
)
_OPENAPI: dict[str, Any] = {
    "security": [{"API key": []}],
    "requestBody": {
        "required": True,
        "content": {"application/json": {"schema": RecommendationRequest.model_json_schema()}},
    },
}


@router.post("", response_model=RecommendationOut, openapi_extra=_OPENAPI)
async def create_recommendation(request: Request, channel: str, tenant: TenantQuery = None) -> Response:
    """Recommend the next items to a user, or after a history; always `count` if there are so many.

    A user without a history gets what is popular, with the reason `cold_start`.
    """
    state = request.app.state
    channel_id = await _channel_id(state.access, secret_of(request), tenant, channel)
    body = _parse(await request.body())
    check_count(state.settings, body.count)
    check_history(state.settings, body.history)
    engine: Engine = state.engine
    # Taken once: whatever is swapped meanwhile, the answer is from one release.
    release = engine.release(channel_id)
    bundle = engine.host.get(release.folder)
    if bundle is None:
        bundle = await run_in_threadpool(engine.open, release)
    history: Sequence[str] | None = body.history
    if history is None:
        history = await _stored_history(state.histories, engine, channel_id, body.user_id or "")
    query = query_of(
        bundle, history, body.count, body.exclude_item_ids, body.exclude_seen, body.user_id is None
    )
    if query.history:
        ranked = await engine.batchers[release.modality].ask(channel_id, query)
        return _answer(release, bundle, ranked, b"model")
    return _answer(release, bundle, popular(bundle, body.count, query.excluded), b"cold_start")


async def _channel_id(memory: RememberedAccess, secret: str, tenant: str | None, channel: str) -> str:
    access = memory.get(secret, tenant, channel, Role.READER)
    if access is None:
        access = await run_in_threadpool(memory.ask, secret, tenant, channel, Role.READER)
    return access.channel_id


def _parse(body: bytes) -> RecommendationRequest:
    try:
        return RecommendationRequest.model_validate_json(body)
    except ValidationError as error:
        errors = [{**e, "loc": ("body", *e["loc"])} for e in error.errors(include_url=False)]
        raise RequestValidationError(errors) from error


async def _stored_history(
    histories: Histories, engine: Engine, channel_id: str, user_id: str
) -> Sequence[str]:
    revision = engine.events_revision(channel_id)
    history = histories.cached(channel_id, revision, user_id)
    return await histories.get(channel_id, revision, user_id) if history is None else history


def _answer(release: Release, bundle: Bundle, ranked: Ranked, reason: bytes) -> Response:
    """A `RecommendationOut`, put together from JSON that lies ready in the release."""
    items = b",".join(
        b'%b,"score":%.7g,"reason":"%b"}' % (bundle.catalog.json(row)[:-1], score, reason)
        for row, score in ranked
    )
    body = b'{"recommendation_id":"%b","release":%b,"variant":"champion","items":[%b]}' % (
        new_id("rec").encode(),
        release.json,
        items,
    )
    return Response(body, media_type="application/json")
