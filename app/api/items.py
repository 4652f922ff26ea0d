"""Items of the catalogue: read, write, delete, and those similar to one."""

from typing import Annotated

from fastapi import APIRouter, Query, Response

from app.api.audited import Audited
from app.api.deps import DatabaseDep, EngineDep, LimitsDep, Reader, SettingsDep, WakeDep, Writer
from app.api.limits import check_count
from app.api.schemas.base import ItemId, Text
from app.api.schemas.items import (
    ItemContent,
    ItemIds,
    ItemOut,
    ItemPage,
    ItemPatch,
    ItemsDeleted,
    ItemShown,
    ItemsStored,
    NewItems,
)
from app.api.schemas.recommendations import RecommendedOut, SimilarOut
from app.api.schemas.releases import ReleaseRef
from app.serving.recommend import similar
from app.store import browse, catalog, item_writes
from app.store.catalog import ItemRow

router = APIRouter(prefix="/v1/channels/{channel}/items", tags=["items"], route_class=Audited)


@router.get("")
def list_items(
    access: Reader,
    db: DatabaseDep,
    search: Annotated[Text, Query(description="What an item's id or text holds, in any case.")] = "",
    after: Annotated[Text, Query(description="The last id of the page before.")] = "",
    limit: Annotated[int, Query(ge=1, le=500)] = 50,
    item_id: Annotated[list[ItemId], Query(max_length=500, description="Just these, in this order.")] = [],  # noqa: B006
) -> ItemPage:
    """List items by id, page by page: all, those that a search finds, or just some."""
    with db.read() as s:
        if item_id:
            some = browse.some_items(s, access.channel_id, item_id)
            return ItemPage(items=[ItemShown.model_validate(item) for item in some], next=None)
        found = browse.find_items(s, access.channel_id, search, after, limit)
    return ItemPage(
        items=[ItemShown.model_validate(item) for item in found],
        next=found[-1].item_id if len(found) == limit else None,
    )


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
    release = engine.release(access.channel_id)
    bundle = engine.open(release)
    found = [
        RecommendedOut(
            item_id=bundle.catalog.item_id(row),
            score=score,
            reason="similar",
            metadata=bundle.catalog.metadata(row),
        )
        for row, score in similar(bundle, item_id, count)
    ]
    return SimilarOut(release=ReleaseRef.model_validate(release), items=found)


@router.get("/{item_id:path}", response_model=ItemOut)
def get_item(item_id: str, access: Reader, db: DatabaseDep) -> ItemRow:
    """Show an item as it is stored."""
    with db.read() as s:
        item = catalog.get_items(s, access.channel_id, [item_id]).get(item_id)
    if item is None:
        raise item_writes.no_item(item_id)
    return item


@router.put("/{item_id:path}", response_model=ItemOut, responses={201: {"model": ItemOut}})
def put_item(
    item_id: str,
    body: ItemContent,
    response: Response,
    access: Writer,
    db: DatabaseDep,
    wake: WakeDep,
    limits: LimitsDep,
) -> ItemRow:
    """Store an item whole: 201 for a new one, 200 for one that was there. The same again changes nothing."""
    row = ItemRow(item_id, body.text, body.attributes)
    with db.session() as s:
        item, is_new, is_changed = item_writes.put_item(s, access.channel_id, row)
        if is_new:
            limits.check(s, access.tenant_id, "items")
    if is_changed:
        wake.releases(access.channel_id)
    response.status_code = 201 if is_new else 200
    return item


@router.patch("/{item_id:path}", response_model=ItemOut)
def patch_item(item_id: str, body: ItemPatch, access: Writer, db: DatabaseDep, wake: WakeDep) -> ItemRow:
    """Change an item's text, or some of its attributes: null takes one away."""
    with db.session() as s:
        item, is_changed = item_writes.patch_item(
            s, access.channel_id, item_id, body.new_text, body.attributes
        )
    if is_changed:
        wake.releases(access.channel_id)
    return item


@router.delete("/{item_id:path}", status_code=204)
def delete_item(item_id: str, access: Writer, db: DatabaseDep, wake: WakeDep) -> None:
    """Delete an item with its image; it is recommended no more. Its interactions stay."""
    with db.session() as s:
        item_writes.delete_item(s, access.channel_id, item_id)
    wake.releases(access.channel_id)


@router.post("", response_model=ItemsStored)
def put_items(
    body: NewItems, access: Writer, db: DatabaseDep, wake: WakeDep, limits: LimitsDep
) -> ItemsStored:
    """Store at most 1,000 items, each whole: all of them or, with any bad one (422 lists them), none."""
    rows = [ItemRow(item.item_id, item.text, item.attributes) for item in body.items]
    with db.session() as s:
        inserted, updated, unchanged = item_writes.put_items(s, access.channel_id, rows)
        if inserted:
            limits.check(s, access.tenant_id, "items")
    if inserted or updated:
        wake.releases(access.channel_id)
    return ItemsStored(inserted=inserted, updated=updated, unchanged=unchanged)


@router.post("/delete", response_model=ItemsDeleted)
def delete_items(body: ItemIds, access: Writer, db: DatabaseDep, wake: WakeDep) -> ItemsDeleted:
    """Delete at most 1,000 items, those of them that there are."""
    with db.session() as s:
        deleted = catalog.delete_items(s, access.channel_id, body.item_ids)
    if deleted:
        wake.releases(access.channel_id)
    return ItemsDeleted(deleted=deleted)
