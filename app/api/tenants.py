"""Tenants and their API keys."""

from fastapi import APIRouter

from app.api.deps import DatabaseDep, Platform, RememberedDep, TenantOperator, WakeDep
from app.api.schemas import KeyOut, NewKey, NewKeyOut, NewTenant, TenantOut
from app.store import tenants
from app.store.tables import ApiKey, Tenant

router = APIRouter(prefix="/v1/admin/tenants", tags=["tenants"])


@router.post("", status_code=201, response_model=TenantOut)
def create_tenant(body: NewTenant, db: DatabaseDep, _: Platform) -> Tenant:
    """Create a tenant (platform operator)."""
    with db.session() as s:
        return tenants.create_tenant(s, body.name)


@router.get("", response_model=list[TenantOut])
def list_tenants(db: DatabaseDep, _: Platform) -> list[Tenant]:
    """List the tenants by name (platform operator)."""
    with db.read() as s:
        return list(tenants.list_tenants(s))


@router.post("/{tenant}/keys", status_code=201)
def create_key(body: NewKey, db: DatabaseDep, scope: TenantOperator) -> NewKeyOut:
    """Create an API key. Its secret is in this answer and nowhere else."""
    with db.session() as s:
        key, secret = tenants.create_key(s, scope.tenant_id, body.role, body.label)
    return NewKeyOut(**KeyOut.model_validate(key).model_dump(), secret=secret)


@router.get("/{tenant}/keys", response_model=list[KeyOut])
def list_keys(db: DatabaseDep, scope: TenantOperator) -> list[ApiKey]:
    """List the tenant's keys, revoked ones too, without their secrets."""
    with db.read() as s:
        return list(tenants.list_keys(s, scope.tenant_id))


@router.delete("/{tenant}/keys/{key_id}", response_model=KeyOut)
def revoke_key(
    key_id: str, db: DatabaseDep, scope: TenantOperator, access: RememberedDep, wake: WakeDep
) -> ApiKey:
    """Revoke a key: from now on it is refused."""
    with db.session() as s:
        key = tenants.revoke_key(s, scope.tenant_id, key_id)
    access.forget()
    wake.look()
    return key
