"""A channel's items: a list to search, a dialog to change one, their images."""

import json
from typing import Any
from urllib.parse import quote

from fastapi import APIRouter
from fastapi.responses import Response

from app.console.gateway import ApiProblem
from app.console.visit import ChannelDep, ChannelVisit, NamedDep
from app.core.errors import NotFound

router = APIRouter(prefix="/channels/{tenant}/{channel}")
PAGE = 25
_IMAGE_HEADERS = ("content-type", "etag", "cache-control")
_CHANGED = "data-changed"  # the event that the lists and figures of the page wait for


async def page_of(here: ChannelVisit, search: str = "", after: str = "") -> dict[str, Any]:
    """What the list of items shows: one page of it."""
    found = await here.get(f"{here.v1}/items", search=search, after=after, limit=PAGE)
    return {"found": found, "search": search, "after": after}


@router.get("/data/items")
async def find(here: NamedDep, search: str = "", after: str = "") -> Response:
    """A page of the items that a search finds."""
    return here.part("parts/data_items.html", **await page_of(here, search[:1000], after))


@router.get("/data/item")
async def edit(here: ChannelDep, item_id: str = "") -> Response:
    """The dialog of an item, or of a new one."""
    item = await _item(here, item_id) if item_id else None
    return _dialog(here, item, is_new=item is None)


@router.post("/data/item")
async def save(here: NamedDep) -> Response:
    """Store what the dialog says; what is wrong with it is said in it."""
    async with here.visit.request.form(max_files=0, max_fields=10) as form:
        given = {name: str(form.get(name, "")) for name in ("item_id", "text", "attributes", "is_new")}
    is_new, item_id = given["is_new"] == "yes", given["item_id"].strip()
    try:
        attributes = _attributes(given["attributes"])
        if is_new and await _exists(here, item_id):
            raise ValueError(f"There is an item {item_id!r} already. Choose another id, or edit that item.")
        body = {"text": given["text"], "attributes": attributes}
        await here.visit.api.put(_path(here, item_id), body, tenant=here.tenant)
    except ValueError as error:
        return _dialog(here, given, is_new, str(error))
    except ApiProblem as error:
        return _dialog(here, given, is_new, error.detail)
    return _done(here, f"Item {item_id} is stored.")


@router.get("/data/item/delete")
async def ask(here: NamedDep, item_id: str) -> Response:
    """The dialog that asks whether to delete an item."""
    return here.part("parts/data_delete.html", item_id=item_id, error="")


@router.post("/data/item/delete")
async def delete(here: NamedDep, item_id: str) -> Response:
    """Delete an item whose id was typed."""
    async with here.visit.request.form(max_files=0, max_fields=5) as form:
        confirmed = str(form.get("confirm", "")).strip()
    if confirmed != item_id:
        error = f"Type {item_id} to delete it."
        return here.part("parts/data_delete.html", item_id=item_id, error=error)
    await here.visit.api.delete(_path(here, item_id), tenant=here.tenant)
    return _done(here, f"Item {item_id} is deleted.")


@router.get("/items/{item_id:path}/image")
async def image(here: NamedDep, item_id: str) -> Response:
    """An item's image, as the API has it; 304 where the browser has it too."""
    known = here.visit.request.headers.get("if-none-match")
    found = await here.visit.api.send(
        "GET",
        f"{_path(here, item_id)}/image",
        {"tenant": here.tenant},
        headers={"If-None-Match": known} if known else None,
    )
    headers = {name: found.headers[name] for name in _IMAGE_HEADERS if name in found.headers}
    return Response(found.content, found.status_code, headers)


@router.put("/items/{item_id:path}/image")
async def put_image(here: NamedDep, item_id: str) -> Response:
    """Set an item's image: the body, passed on as it comes."""
    try:
        await here.visit.api.send(
            "PUT",
            f"{_path(here, item_id)}/image",
            {"tenant": here.tenant},
            content=here.visit.request.stream(),
        )
    except ApiProblem as error:
        return told(here, error)
    return here.part("parts/data_said.html", text="The image is stored.", kind="good")


@router.delete("/items/{item_id:path}/image")
async def delete_image(here: NamedDep, item_id: str) -> Response:
    """Delete an item's image; the item stays."""
    try:
        await here.visit.api.delete(f"{_path(here, item_id)}/image", tenant=here.tenant)
    except ApiProblem as error:
        return told(here, error)
    answer = here.part("parts/data_said.html", text="The image is deleted.", kind="good")
    answer.headers["HX-Trigger"] = _CHANGED
    return answer


def told(here: ChannelVisit, error: ApiProblem) -> Response:
    """An error in the place where what caused it was sent."""
    answer = here.part("parts/data_said.html", text=error.detail or error.title, kind="bad")
    answer.status_code = error.status
    return answer


def _path(here: ChannelVisit, item_id: str) -> str:
    return f"{here.v1}/items/{quote(item_id, safe='')}"


async def _item(here: ChannelVisit, item_id: str) -> dict[str, Any]:
    """An item as a list shows it: with whether it has an image, and whatever its id ends in."""
    found: list[dict[str, Any]] = (await here.get(f"{here.v1}/items", item_id=[item_id]))["items"]
    if not found:
        raise NotFound(f"There is no item {item_id!r}. Search for it.")
    return found[0]


async def _exists(here: ChannelVisit, item_id: str) -> bool:
    try:
        await here.get(_path(here, item_id))
    except ApiProblem as error:
        if error.status == NotFound.status:
            return False
        raise
    return True


def _attributes(text: str) -> dict[str, Any]:
    try:
        found = json.loads(text or "{}")
    except (ValueError, RecursionError) as error:
        raise ValueError(f'The attributes are not JSON: {error}. Write {{"colour": "red"}}.') from error
    if not isinstance(found, dict):
        raise ValueError('The attributes are no JSON object. Write {"colour": "red"}.')
    return found


def _dialog(here: ChannelVisit, item: dict[str, Any] | None, is_new: bool, error: str = "") -> Response:
    shown = dict(item or {"item_id": "", "text": "", "attributes": {}})
    if isinstance(shown["attributes"], dict):
        shown["attributes"] = json.dumps(shown["attributes"], ensure_ascii=False, indent=2)
    return here.part("parts/data_item.html", item=shown, is_new=is_new, error=error)


def _done(here: ChannelVisit, text: str) -> Response:
    """The dialog, closed."""
    answer = here.part("parts/empty.html", notice=text)
    answer.headers["HX-Trigger"] = _CHANGED
    return answer
