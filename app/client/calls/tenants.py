"""Tenants and their keys; where `tenant` is None, a key is the platform operator's."""

from collections.abc import Mapping
from datetime import datetime
from typing import Literal

from app.api.schemas.tenants import (
    KeyOut,
    MeOut,
    NewKey,
    NewKeyOut,
    NewLimits,
    NewPlatformKey,
    NewTenant,
    Rotation,
    TenantDetail,
    TenantOut,
    TenantPatch,
    TenantRow,
)
from app.client.call import ADMIN, Call, at, many, nothing, one


def me() -> Call[MeOut]:
    """Whose key this is: its role, its tenant, until when it works."""
    return Call("GET", "/v1/me", one(MeOut), of_tenant=False)


def tenants(search: str | None = None, after: str | None = None, limit: int = 1000) -> Call[list[TenantRow]]:
    """The tenants by name, with their limits (platform operator); `after` a name: the next page."""
    query = {"search": search, "after": after, "limit": limit}
    return Call("GET", at(ADMIN, "tenants"), many(TenantRow), query=query, of_tenant=False)


def tenant(name: str) -> Call[TenantDetail]:
    """A tenant with its limits and what it has."""
    return Call("GET", at(ADMIN, "tenants", name), one(TenantDetail), of_tenant=False)


def create_tenant(name: str) -> Call[TenantOut]:
    """Create a tenant (platform operator)."""
    return Call("POST", at(ADMIN, "tenants"), one(TenantOut), NewTenant(name=name), of_tenant=False)


def set_limits(name: str, limits: Mapping[str, int | None]) -> Call[TenantDetail]:
    """Change a tenant's limits (platform operator): None is back to the default, 0 any number."""
    body = TenantPatch(limits=NewLimits.model_validate({**limits}))
    return Call("PATCH", at(ADMIN, "tenants", name), one(TenantDetail), body, of_tenant=False)


def delete_tenant(name: str) -> Call[None]:
    """Delete a tenant with all that is its own (platform operator)."""
    path = at(ADMIN, "tenants", name)
    return Call("DELETE", path, nothing, query={"confirm": name}, of_tenant=False)


def keys(tenant: str | None = None) -> Call[list[KeyOut]]:
    """The keys, revoked ones too, without their secrets."""
    return Call("GET", _keys(tenant), many(KeyOut), of_tenant=False)


def create_key(
    tenant: str | None,
    role: Literal["reader", "writer", "operator"] = "reader",
    label: str = "",
    expires_at: datetime | None = None,
) -> Call[NewKeyOut]:
    """Create a key; its secret is in this answer and never again. The platform's are all operators'."""
    body = (
        NewPlatformKey(label=label, expires_at=expires_at)
        if tenant is None
        else NewKey(role=role, label=label, expires_at=expires_at)
    )
    return Call("POST", _keys(tenant), one(NewKeyOut), body, of_tenant=False)


def revoke_key(tenant: str | None, key_id: str) -> Call[KeyOut]:
    """Revoke a key: from now on it is refused."""
    return Call("DELETE", _keys(tenant, key_id), one(KeyOut), of_tenant=False)


def rotate_key(tenant: str | None, key_id: str, grace_seconds: int = 0) -> Call[NewKeyOut]:
    """Make a new key in place of one, which is refused after `grace_seconds`."""
    body = Rotation(grace_seconds=grace_seconds)
    return Call("POST", _keys(tenant, key_id, "rotate"), one(NewKeyOut), body, of_tenant=False)


def _keys(tenant: str | None, *parts: str) -> str:
    owner = () if tenant is None else ("tenants", tenant)
    return at(ADMIN, *owner, "keys", *parts)
