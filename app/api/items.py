"""Items of the catalogue, and those similar to one."""

from typing import Annotated

from fastapi import APIRouter, Query

from app.api.deps import DatabaseDep, EngineDep, Reader, SettingsDep
from app.api.limits import check_count
from app.api.schemas import ItemOut, RecommendedOut, ReleaseRef, SimilarOut
from app.core.errors import NotFound
from app.serving.recommend import similar
from app.store import catalog
from app.store.catalog import ItemRow

router = APIRouter(prefix="/v1/channels/{channel}/items", tags=["items"])


# An id may hold a slash. So this route comes first, and an item whose id ends in "/similar" has no page;
# nor has one that ends in "/image", see app.api.images.
@router.get("/{item_id:path}/similar")
def get_similar(
    item_id: str,
    access: Reader,
    engine: EngineDep,
    settings: SettingsDep,
    count: Annotated[int, Query(ge=1)] = 10,
) -> SimilarOut:
    """List the items whose vectors point the same way, nearest first."""
    check_count(settings, count)
    bundle = engine.bundle(access.channel_id)
    found = [RecommendedOut.model_validate(item) for item in similar(bundle, item_id, count)]
    return SimilarOut(release=ReleaseRef.model_validate(bundle), items=found)


@router.get("/{item_id:path}", response_model=ItemOut)
def get_item(item_id: str, access: Reader, db: DatabaseDep) -> ItemRow:
    """Show an item as it is stored."""
    with db.read() as s:
        item = catalog.get_items(s, access.channel_id, [item_id]).get(item_id)
    if item is None:
        raise NotFound(f"There is no item {item_id[:80]!r} in the channel. Check the id, or import it first.")
    return item
