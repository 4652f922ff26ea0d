"""Tenants: create, list, show, limit, delete."""

from dataclasses import asdict
from typing import Annotated

from fastapi import APIRouter, Query
from sqlalchemy.orm import Session

from app.api.audited import Audited
from app.api.deps import DatabaseDep, KeysChanged, LimitsDep, Platform, TenantOperator, WakeDep
from app.api.limits import Confirmation, confirmed
from app.api.schemas.tenants import (
    LimitsOut,
    NewTenant,
    TenantDetail,
    TenantOut,
    TenantPatch,
    TenantRow,
    Usage,
)
from app.store import quotas, tenants
from app.store.quotas import TenantLimits
from app.store.tables import Tenant

router = APIRouter(prefix="/v1/admin/tenants", tags=["tenants"], route_class=Audited)


@router.post("", status_code=201, response_model=TenantOut)
def create_tenant(body: NewTenant, db: DatabaseDep, _: Platform) -> Tenant:
    """Create a tenant (platform operator)."""
    with db.session() as s:
        return tenants.create_tenant(s, body.name)


@router.get("")
def list_tenants(
    db: DatabaseDep,
    limits: LimitsDep,
    _: Platform,
    search: Annotated[str | None, Query(max_length=63, description="A part of the name.")] = None,
    after: Annotated[
        str | None, Query(max_length=63, description="Only names that come after this one: the next page.")
    ] = None,
    limit: Annotated[int, Query(ge=1, le=1000)] = 1000,
) -> list[TenantRow]:
    """List the tenants by name, with their limits and what is quickly counted (platform operator)."""
    with db.read() as s:
        found = tenants.list_tenants(s, search, after, limit)
        counts = tenants.counts(s, [tenant.id for tenant in found])
    return [
        TenantRow(
            **TenantOut.model_validate(tenant).model_dump(),
            **asdict(counts[tenant.id]),
            limits=LimitsOut(**asdict(limits.with_overrides(tenant.limits))),
        )
        for tenant in found
    ]


@router.get("/{tenant}")
def get_tenant(tenant: str, db: DatabaseDep, limits: LimitsDep, _: TenantOperator) -> TenantDetail:
    """Show a tenant with its limits and what it has; it counts, so do not ask every second."""
    with db.read() as s:
        return _detail(s, limits, tenants.get_tenant(s, tenant))


@router.patch("/{tenant}")
def patch_tenant(
    tenant: str, body: TenantPatch, db: DatabaseDep, limits: LimitsDep, wake: WakeDep, _: Platform
) -> TenantDetail:
    """Change a tenant's limits (platform operator): null is back to the default, 0 any number."""
    with db.session() as s:
        tenants.set_limits(s, tenant, body.limits.model_dump(exclude_unset=True))
    wake.look()
    with db.read() as s:
        limits.look(s)
        return _detail(s, limits, tenants.get_tenant(s, tenant))


@router.delete("/{tenant}", status_code=204)
def delete_tenant(
    tenant: str,
    confirm: Confirmation,
    db: DatabaseDep,
    changed: KeysChanged,
    _: Platform,
) -> None:
    """Delete a tenant with its keys, its channels and all that is in them (platform operator).

    `confirm` repeats its name.
    """
    with db.read() as s:
        confirmed(confirm, tenants.get_tenant(s, tenant).name)
    with db.session() as s:
        tenants.delete_tenant(s, tenant)
    changed()


def _detail(s: Session, limits: TenantLimits, tenant: Tenant) -> TenantDetail:
    return TenantDetail(
        **TenantOut.model_validate(tenant).model_dump(),
        limits=LimitsOut(**asdict(limits.with_overrides(tenant.limits))),
        overrides=tenant.limits,
        usage=Usage(**quotas.usage(s, tenant.id)),
    )
