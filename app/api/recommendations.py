"""Recommendations."""

from fastapi import APIRouter

from app.api.deps import Access, DatabaseDep, EngineDep, Reader, SettingsDep
from app.api.limits import check_count, check_history
from app.api.schemas import RecommendationOut, RecommendationRequest, RecommendedOut, ReleaseRef
from app.core.ids import new_id
from app.serving.recommend import Recommended, recommend
from app.serving.release import Bundle
from app.store import events
from app.store.db import Database

router = APIRouter(prefix="/v1/channels/{channel}/recommendations", tags=["recommendations"])


@router.post("")
def create_recommendation(
    body: RecommendationRequest, access: Reader, db: DatabaseDep, engine: EngineDep, settings: SettingsDep
) -> RecommendationOut:
    """Recommend the next items to a user, or after a history; always `count` if there are so many.

    A user without a history gets what is popular, with the reason `cold_start`.
    """
    check_count(settings, body.count)
    check_history(settings, body.history)
    # Taken once: whatever is swapped meanwhile, the answer is from one release.
    bundle = engine.bundle(access.channel_id)
    found = _recommend(db, access, bundle, body)
    return RecommendationOut(
        recommendation_id=new_id("rec"),
        release=ReleaseRef.model_validate(bundle),
        items=[RecommendedOut.model_validate(item) for item in found],
    )


def _recommend(
    db: Database, access: Access, bundle: Bundle, body: RecommendationRequest
) -> list[Recommended]:
    if body.user_id is None:
        history = body.history or []
    else:
        with db.read() as s:
            history = events.history(s, access.channel_id, body.user_id)
    strict = body.user_id is None
    return recommend(bundle, history, body.count, body.exclude_item_ids, body.exclude_seen, strict)
