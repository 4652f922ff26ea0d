"""The image of an item: send, fetch, delete."""

from fastapi import APIRouter, Request, Response
from starlette.concurrency import run_in_threadpool

from app.api.audited import Audited
from app.api.deps import DatabaseDep, LimitsDep, Reader, SettingsDep, WakeDep, Writer
from app.api.schemas.items import ImageOut
from app.api.uploads import RAW_BODY, read_body
from app.core.config import Settings
from app.core.images import MEDIA_TYPES, check_image
from app.store import images
from app.store.access import Access
from app.store.db import Database
from app.store.images import ImageRow
from app.store.quotas import TenantLimits
from app.store.tables import ItemImage
from app.store.wake import Wake

# Before the items' own routes, which would take "/image" for the end of an item's id.
router = APIRouter(
    prefix="/v1/channels/{channel}/items/{item_id:path}/image", tags=["images"], route_class=Audited
)

# A browser that is led here must not run what a hostile image may hold besides its pixels.
_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "default-src 'none'; sandbox",
    "Cache-Control": "private, no-cache",  # asked again each time, by the ETag
}


@router.put("", response_model=ImageOut, openapi_extra=RAW_BODY, responses={201: {"model": ImageOut}})
async def put_image(
    item_id: str,
    request: Request,
    response: Response,
    access: Writer,
    db: DatabaseDep,
    wake: WakeDep,
    settings: SettingsDep,
    limits: LimitsDep,
) -> ItemImage:
    """Set an item's image: a JPEG, PNG or WebP as the body, whatever Content-Type is given.

    It is checked whole and kept as it came. 201 for the item's first image, 200 later on.
    """
    data = await read_body(request, settings.max_image_bytes)
    image, is_new = await run_in_threadpool(_put, db, wake, settings, limits, access, item_id, data)
    response.status_code = 201 if is_new else 200
    return image


@router.get(
    "", response_class=Response, responses={200: {"content": {name: {} for name in MEDIA_TYPES.values()}}}
)
def get_image(item_id: str, request: Request, access: Reader, db: DatabaseDep) -> Response:
    """Fetch an item's image as it was sent; 304 if `If-None-Match` names it."""
    with db.read() as s:
        image = images.get_image(s, access.channel_id, item_id)
        headers = {**_HEADERS, "ETag": f'"{image.sha256}"'}
        if headers["ETag"] in request.headers.get("if-none-match", ""):
            return Response(status_code=304, headers=headers)
        image = images.get_image(s, access.channel_id, item_id, with_data=True)
    return Response(image.data, media_type=MEDIA_TYPES[image.format], headers=headers)


@router.delete("", status_code=204)
def delete_image(item_id: str, access: Writer, db: DatabaseDep, wake: WakeDep) -> None:
    """Delete an item's image; the item stays."""
    with db.session() as s:
        images.delete_image(s, access.channel_id, item_id)
    wake.releases(access.channel_id)


def _put(
    db: Database,
    wake: Wake,
    settings: Settings,
    limits: TenantLimits,
    access: Access,
    item_id: str,
    data: bytes,
) -> tuple[ItemImage, bool]:
    info = check_image(data, settings.max_image_bytes, settings.max_image_pixels)
    with db.session() as s:
        is_new, is_changed = images.put_image(s, access.channel_id, ImageRow(item_id, info, data))
        if is_changed:
            limits.check(s, access.tenant_id, "bytes")
        image = images.get_image(s, access.channel_id, item_id)
    if is_changed:
        wake.releases(access.channel_id)
    return image, is_new
