"""Keys, of a tenant and of the platform's operator: create, rotate, revoke. A secret is shown once."""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Any
from urllib.parse import quote

from fastapi import APIRouter, Form
from fastapi.responses import Response

from app.console.security import PATH
from app.console.visit import Visit, VisitDep
from app.core.errors import Invalid

router = APIRouter()
ENDED = 50
"""So many keys that no longer work are shown, the newest."""


@dataclass(frozen=True)
class Keys:
    """Keys as a page shows them. `path` begins the routes of the console, `v1` those of the API."""

    tenant: str | None
    valid: list[dict[str, Any]]
    ended: list[dict[str, Any]]

    @property
    def path(self) -> str:
        """Where the console's routes about them begin."""
        return f"{PATH}/tenants/{quote(self.tenant, safe='')}/keys" if self.tenant else f"{PATH}/keys"


def keys_of(tenant: str | None, found: list[dict[str, Any]]) -> Keys:
    """Sort keys into those that work and those that do not, newest first."""
    at = datetime.now(UTC)
    ended = [key for key in found if _has_ended(key, at)]
    valid = [key for key in found if not _has_ended(key, at)]
    return Keys(tenant, valid[::-1], ended[: -ENDED - 1 : -1])


@router.get("/keys")
async def show(visit: VisitDep) -> Response:
    """The keys of the platform's operator."""
    return visit.page("keys.html", keys=keys_of(None, await visit.api.get(_v1(None))))


@router.post("/keys")
@router.post("/tenants/{tenant}/keys")
async def create(
    visit: VisitDep,
    tenant: str | None = None,
    role: Annotated[str, Form()] = "",
    label: Annotated[str, Form()] = "",
    last_day: Annotated[str, Form()] = "",
) -> Response:
    """Make a key and show its secret, this once."""
    body = {"label": label.strip(), "expires_at": _end_of(last_day)}
    made = await visit.api.post(_v1(tenant), body | ({"role": role} if tenant else {}))
    return await _list(visit, tenant, made=made)


@router.get("/keys/{key_id}/{act}")
@router.get("/tenants/{tenant}/keys/{key_id}/{act}")
async def ask(visit: VisitDep, key_id: str, act: str, tenant: str | None = None) -> Response:
    """The question before a key is rotated or revoked, for the dialog."""
    keys = keys_of(tenant, await visit.api.get(_v1(tenant)))
    key = next((key for key in keys.valid if key["id"] == key_id), None)
    if key is None or act not in ("rotate", "revoke"):
        raise Invalid("The key no longer works. Reload the page.")
    return visit.part("parts/key_dialog.html", keys=keys, key=key, act=act)


@router.post("/keys/{key_id}/rotate")
@router.post("/tenants/{tenant}/keys/{key_id}/rotate")
async def rotate(
    visit: VisitDep, key_id: str, grace: Annotated[str, Form()] = "0", tenant: str | None = None
) -> Response:
    """Put a new key in place of one, and show its secret."""
    path = f"{_v1(tenant)}/{quote(key_id, safe='')}/rotate"
    made = await visit.api.post(path, {"grace_seconds": grace})
    return await _list(visit, tenant, made=made)


@router.post("/keys/{key_id}/revoke")
@router.post("/tenants/{tenant}/keys/{key_id}/revoke")
async def revoke(visit: VisitDep, key_id: str, tenant: str | None = None) -> Response:
    """Refuse a key from now on."""
    gone = await visit.api.delete(f"{_v1(tenant)}/{quote(key_id, safe='')}")
    return await _list(visit, tenant, notice=f"The key {gone['prefix']}… is refused from now on.")


async def _list(visit: Visit, tenant: str | None, made: Any = None, notice: str = "") -> Response:
    keys = keys_of(tenant, await visit.api.get(_v1(tenant)))
    return visit.part("parts/keys.html", notice, keys=keys, made=made)


def _v1(tenant: str | None) -> str:
    return f"/v1/admin/tenants/{quote(tenant, safe='')}/keys" if tenant else "/v1/admin/keys"


def _end_of(day: str) -> str | None:
    """The last moment of a day, in UTC."""
    return f"{day}T23:59:59Z" if day else None


def _has_ended(key: dict[str, Any], at: datetime) -> bool:
    ends = key["expires_at"]
    return key["revoked_at"] is not None or (ends is not None and datetime.fromisoformat(ends) <= at)
