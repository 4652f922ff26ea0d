"""API keys, of tenants and of the platform's operator: create, list, revoke, rotate."""

from fastapi import APIRouter

from app.api.audited import Audited
from app.api.deps import DatabaseDep, KeysChanged, Platform, TenantOperator
from app.api.schemas.tenants import KeyOut, NewKey, NewKeyOut, NewPlatformKey, Rotation
from app.store import keys, tenants
from app.store.tables import ApiKey
from app.store.tenants import Role

router = APIRouter(prefix="/v1/admin", tags=["keys"], route_class=Audited)


@router.post("/tenants/{tenant}/keys", status_code=201)
def create_key(body: NewKey, db: DatabaseDep, scope: TenantOperator) -> NewKeyOut:
    """Create an API key. Its secret is in this answer and nowhere else."""
    with db.session() as s:
        return NewKeyOut.of(*tenants.create_key(s, scope.tenant_id, body.role, body.label, body.expires_at))


@router.get("/tenants/{tenant}/keys", response_model=list[KeyOut])
def list_keys(db: DatabaseDep, scope: TenantOperator) -> list[ApiKey]:
    """List the tenant's keys, revoked ones too, without their secrets."""
    with db.read() as s:
        return list(tenants.list_keys(s, scope.tenant_id))


@router.delete("/tenants/{tenant}/keys/{key_id}", response_model=KeyOut)
def revoke_key(key_id: str, db: DatabaseDep, scope: TenantOperator, changed: KeysChanged) -> ApiKey:
    """Revoke a key: from now on it is refused."""
    with db.session() as s:
        key = tenants.revoke_key(s, scope.tenant_id, key_id)
    changed()
    return key


@router.post("/tenants/{tenant}/keys/{key_id}/rotate", status_code=201)
def rotate_key(
    key_id: str,
    db: DatabaseDep,
    scope: TenantOperator,
    changed: KeysChanged,
    body: Rotation | None = None,
) -> NewKeyOut:
    """Make a new key in place of this one, which is refused after `grace_seconds` (0: at once)."""
    with db.session() as s:
        made = keys.rotate_key(s, scope.tenant_id, key_id, (body or Rotation()).grace_seconds)
    changed()
    return NewKeyOut.of(*made)


@router.post("/keys", status_code=201)
def create_platform_key(body: NewPlatformKey, db: DatabaseDep, _: Platform) -> NewKeyOut:
    """Create a key of the platform's operator. Its secret is in this answer and nowhere else."""
    with db.session() as s:
        return NewKeyOut.of(*tenants.create_key(s, None, Role.OPERATOR, body.label, body.expires_at))


@router.get("/keys", response_model=list[KeyOut])
def list_platform_keys(db: DatabaseDep, _: Platform) -> list[ApiKey]:
    """List the keys of the platform's operator, revoked ones too, without their secrets."""
    with db.read() as s:
        return list(tenants.list_keys(s, None))


@router.delete("/keys/{key_id}", response_model=KeyOut)
def revoke_platform_key(key_id: str, db: DatabaseDep, changed: KeysChanged, _: Platform) -> ApiKey:
    """Revoke a key of the platform's operator; 409 for the last that does not expire."""
    with db.session() as s:
        key = keys.revoke_platform_key(s, key_id)
    changed()
    return key


@router.post("/keys/{key_id}/rotate", status_code=201)
def rotate_platform_key(
    key_id: str,
    db: DatabaseDep,
    changed: KeysChanged,
    _: Platform,
    body: Rotation | None = None,
) -> NewKeyOut:
    """Make a new key in place of this one, which is refused after `grace_seconds` (0: at once)."""
    with db.session() as s:
        made = keys.rotate_key(s, None, key_id, (body or Rotation()).grace_seconds)
    changed()
    return NewKeyOut.of(*made)
