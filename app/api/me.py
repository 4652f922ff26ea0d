"""Whose key this is."""

from fastapi import APIRouter

from app.api.deps import Anybody, DatabaseDep
from app.api.schemas.tenants import MeOut
from app.store.tables import Tenant

router = APIRouter(prefix="/v1", tags=["keys"])


@router.get("/me")
def get_me(principal: Anybody, db: DatabaseDep) -> MeOut:
    """Show what the key of the request is: its role, its tenant, until when it works."""
    with db.read() as s:
        tenant = s.get(Tenant, principal.tenant_id) if principal.tenant_id else None
    return MeOut(
        key_id=principal.key_id,
        role=principal.role,
        label=principal.label,
        tenant=tenant and tenant.name,
        expires_at=principal.expires_at,
    )
