"""What a release of one's choice would answer: beside the hot path, and counted nowhere."""

import time
from collections.abc import Sequence

from fastapi import APIRouter
from starlette.concurrency import run_in_threadpool

from app.api.deps import EngineDep, HistoriesDep, Reader, SettingsDep
from app.api.limits import check_count, check_history
from app.api.recommendations import popular_for, query_for, stored_history
from app.api.schemas.recommendations import PreviewOut, PreviewRequest, RecommendedOut
from app.api.schemas.releases import ReleaseRef
from app.serving import chosen
from app.serving.engine import Engine
from app.serving.release import Release
from app.store.access import Access
from app.store.scope import require_role
from app.store.tenants import Role

router = APIRouter(prefix="/v1/channels/{channel}/recommendations/preview", tags=["recommendations"])


@router.post("")
async def create_preview(
    body: PreviewRequest, access: Reader, engine: EngineDep, histories: HistoriesDep, settings: SettingsDep
) -> PreviewOut:
    """Show what the champion would recommend or, to an operator, the challenger or another version.

    Nobody's share of a rollout counts, and the answer counts for no figure of the channel. A version that
    does not lie on this server's disk is a 409.
    """
    check_count(settings, body.count)
    check_history(settings, body.history)
    release = await run_in_threadpool(_release, engine, access, body)
    bundle = await run_in_threadpool(engine.open, release)
    started = time.perf_counter()
    history: Sequence[str] | None = body.history
    if history is None:
        history = await stored_history(histories, engine, access.channel_id, body.user_id or "")
    query = query_for(bundle, history, body, None, strict=body.user_id is None)
    if query.history:
        ranked, reason = await engine.batchers[release.modality].ask(access.channel_id, query), "model"
    else:
        ranked, reason = await popular_for(bundle, query), "cold_start"
    return PreviewOut(
        release=ReleaseRef.model_validate(release),
        variant=chosen.variant_of(engine, release),
        up_to_date=chosen.is_up_to_date(engine, release),
        milliseconds=1000 * (time.perf_counter() - started),
        items=[
            RecommendedOut(
                item_id=bundle.catalog.item_id(row),
                score=float(f"{score:.7g}"),  # as the hot path writes it
                reason=reason,
                metadata=bundle.catalog.metadata(row),
            )
            for row, score in ranked
        ],
    )


def _release(engine: Engine, access: Access, body: PreviewRequest) -> Release:
    if body.version is None and body.variant in (None, "champion"):
        return chosen.by_variant(engine, access.channel_id, "champion")
    require_role(access.principal, Role.OPERATOR)
    if body.version is not None:
        return chosen.by_version(engine, access.channel_id, body.version)
    return chosen.by_variant(engine, access.channel_id, "challenger")
