"""The audit log: who did what in the control plane."""

from collections.abc import Mapping
from typing import Annotated

from fastapi import APIRouter, Query
from sqlalchemy import select
from sqlalchemy.orm import Session

from app.api.deps import AnyOperator, DatabaseDep
from app.api.schemas.audit import AuditOut
from app.store import audit
from app.store.scope import scope_for
from app.store.tables import AuditEntry, Tenant
from app.store.tenants import Principal, Role, names_of

router = APIRouter(prefix="/v1/admin/audit", tags=["audit"])


@router.get("")
def get_audit(
    db: DatabaseDep,
    who: AnyOperator,
    tenant: Annotated[
        str | None, Query(description="A tenant's name, or the id of one that is gone.")
    ] = None,
    channel: Annotated[str | None, Query(description="A channel's name.")] = None,
    action: Annotated[str | None, Query(description="An operation's name, such as `promote`.")] = None,
    before: Annotated[
        int | None, Query(ge=1, lt=2**63, description="Only entries with a smaller id: the next page.")
    ] = None,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
) -> list[AuditOut]:
    """List acts, newest first: a tenant's own, or for the platform's operator all."""
    with db.read() as s:
        tenant_id = _tenant_id(s, who, tenant)
        found = audit.entries(
            s, tenant_id=tenant_id, channel=channel, action=action, before=before, limit=limit
        )
        names = names_of(s, {entry.tenant_id for entry in found if entry.tenant_id is not None})
    return [_shown(entry, names) for entry in found]


def _shown(entry: AuditEntry, names: Mapping[str, str]) -> AuditOut:
    known = {name: getattr(entry, name) for name in AuditOut.model_fields if name != "tenant"}
    return AuditOut(**known, tenant=names.get(entry.tenant_id or ""))


def _tenant_id(s: Session, who: Principal, tenant: str | None) -> str | None:
    if who.tenant_id is not None:
        return scope_for(s, who, tenant, Role.OPERATOR).tenant_id
    if tenant is None:
        return None
    return s.scalar(select(Tenant.id).where(Tenant.name == tenant)) or tenant
