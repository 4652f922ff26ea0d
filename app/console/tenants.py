"""The platform's tenants; one tenant: its usage, its limits, its keys, what is held of a user, its end."""

from typing import Annotated, Any
from urllib.parse import quote

from fastapi import APIRouter, Form, Request
from fastapi.responses import Response

from app.console.keys import keys_of
from app.console.security import PATH
from app.console.visit import VisitDep

router = APIRouter()
PAGE = 50
LIMITS = {
    "channels": "Channels",
    "items": "Items",
    "interactions": "Interactions",
    "jobs": "Training jobs that wait or run",
    "bytes": "Bytes of images and adapters",
    "requests_per_second": "Requests a second",
}


@router.get("/tenants")
async def show_all(visit: VisitDep, search: str = "", after: str = "") -> Response:
    """The tenants, a page at a time."""
    query = {"search": search.strip() or None, "after": after or None, "limit": PAGE + 1}
    found = await visit.api.get("/v1/admin/tenants", **query)
    more = found[PAGE - 1]["name"] if len(found) > PAGE else None
    return visit.page("tenants.html", tenants=found[:PAGE], more=more, search=search, after=after)


@router.post("/tenants")
async def create(visit: VisitDep, name: Annotated[str, Form()] = "") -> Response:
    """Make a tenant, and go to its page."""
    made = await visit.api.post("/v1/admin/tenants", {"name": name.strip()})
    return visit.go(f"{PATH}/tenants/{made['name']}")


@router.get("/tenants/{tenant}")
async def show(visit: VisitDep, tenant: str) -> Response:
    """A tenant."""
    found = await visit.api.get(_admin(tenant))
    keys = keys_of(tenant, await visit.api.get(f"{_admin(tenant)}/keys"))
    return visit.page("tenant.html", tenant=found, keys=keys, limits=LIMITS)


@router.post("/tenants/{tenant}/limits")
async def set_limits(request: Request, visit: VisitDep, tenant: str) -> Response:
    """Change the limits: an empty field is the default."""
    async with request.form(max_files=0, max_fields=20) as form:
        sent = {name: str(form[name]).strip() for name in LIMITS if name in form}
    # What is no number is the API's to refuse.
    limits: dict[str, Any] = {name: value or None for name, value in sent.items()}
    found = await visit.api.patch(_admin(tenant), {"limits": limits})
    return visit.part("parts/tenant_limits.html", "The limits are changed.", tenant=found, limits=LIMITS)


@router.post("/tenants/{tenant}/delete")
async def delete(visit: VisitDep, tenant: str, confirm: Annotated[str, Form()] = "") -> Response:
    """Delete a tenant with all that is its own."""
    await visit.api.delete(_admin(tenant), confirm=confirm)
    return visit.go(f"{PATH}/tenants")


@router.get("/tenants/{tenant}/users")
async def show_user(visit: VisitDep, tenant: str, user_id: str = "", after: int = 0) -> Response:
    """What is held of a user."""
    held = await _held(visit, tenant, user_id, after) if user_id else None
    return visit.page("user.html", tenant=tenant, user_id=user_id, held=held, after=after)


@router.post("/tenants/{tenant}/users/delete")
async def delete_user(visit: VisitDep, tenant: str, user_id: Annotated[str, Form()] = "") -> Response:
    """Delete what is held of a user, and show what is left."""
    gone = await visit.api.delete(_user(user_id), tenant=tenant)
    count = sum(channel["interactions"] for channel in gone["channels"])
    notice = f"{count:,} interactions in {len(gone['channels'])} channels are deleted."
    held = await _held(visit, tenant, user_id, 0)
    return visit.part("parts/user_held.html", notice, tenant=tenant, user_id=user_id, held=held, after=0)


async def _held(visit: VisitDep, tenant: str, user_id: str, after: int) -> Any:
    return await visit.api.get(_user(user_id), tenant=tenant, after=after, limit=100)


def _user(user_id: str) -> str:
    return f"/v1/users/{quote(user_id, safe='')}"


def _admin(tenant: str) -> str:
    return f"/v1/admin/tenants/{quote(tenant, safe='')}"
