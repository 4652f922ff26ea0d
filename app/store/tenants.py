"""Tenants and API keys."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.core.clock import now
from app.core.errors import Conflict, Invalid, NotFound, Unauthorized
from app.core.ids import hash_secret, new_id, new_secret
from app.core.names import NAME_PATTERN, is_name
from app.store.db import insert_into
from app.store.tables import ApiKey, Tenant


class Role(StrEnum):
    """What a key may do: read; write data too; and operate (train, promote, manage keys)."""

    READER = "reader"
    WRITER = "writer"
    OPERATOR = "operator"


@dataclass(frozen=True, slots=True)
class Principal:
    """Who sends a request; without a tenant it is the platform's operator."""

    key_id: str
    role: Role
    tenant_id: str | None
    label: str


def create_tenant(s: Session, name: str) -> Tenant:
    """Create a tenant; raises `Invalid` for a bad name and `Conflict` for one that is taken."""
    if not is_name(name):
        raise Invalid(f"A tenant's name must match {NAME_PATTERN}; {name[:80]!r} does not.", field="name")
    if s.scalar(select(Tenant.id).where(Tenant.name == name)):
        raise _tenant_exists(name)
    tenant = Tenant(id=new_id("ten"), name=name, created_at=now())
    row = {"id": tenant.id, "name": tenant.name, "created_at": tenant.created_at}
    # Another process may have inserted the name since the look above.
    created = s.scalar(insert_into(s, Tenant).values(row).on_conflict_do_nothing().returning(Tenant.id))
    if created is None:
        raise _tenant_exists(name)
    return get_tenant(s, name)


def _tenant_exists(name: str) -> Conflict:
    return Conflict(f"There is a tenant {name!r} already. Choose another name, or use that tenant.")


def get_tenant(s: Session, name: str) -> Tenant:
    """Return the tenant of that name; raises `NotFound`."""
    tenant = s.scalar(select(Tenant).where(Tenant.name == name))
    if tenant is None:
        raise NotFound(f"There is no tenant {name[:80]!r}. Check the name, or create it first.")
    return tenant


def list_tenants(s: Session) -> Sequence[Tenant]:
    """Return all tenants by name."""
    return s.scalars(select(Tenant).order_by(Tenant.name)).all()


def create_key(s: Session, tenant_id: str | None, role: str, label: str) -> tuple[ApiKey, str]:
    """Create a key and return it with its secret, which is shown this once and never stored.

    Without a tenant it is the platform operator's. Raises `Invalid` for a role that does not exist.
    """
    if role not in list(Role):
        raise Invalid(f"A key's role is one of {', '.join(Role)}; {role[:80]!r} is not.", field="role")
    if tenant_id is None and role != Role.OPERATOR:
        raise Invalid("A key without a tenant must have the role operator. Name a tenant.", field="role")
    secret = new_secret()
    key = ApiKey(
        id=new_id("key"),
        tenant_id=tenant_id,
        role=role,
        label=label,
        prefix=secret[:8],
        hash=hash_secret(secret),
        created_at=now(),
    )
    s.add(key)
    s.flush()
    return key, secret


def revoke_key(s: Session, tenant_id: str | None, key_id: str) -> ApiKey:
    """Make a key useless from now on; raises `NotFound` when `tenant_id` has no such key."""
    key = s.get(ApiKey, key_id)
    if key is None or key.tenant_id != tenant_id:
        raise NotFound(f"There is no key {key_id[:80]!r}. List the keys to find its id.")
    key.revoked_at = key.revoked_at or now()
    return key


def list_keys(s: Session, tenant_id: str | None) -> Sequence[ApiKey]:
    """Return the keys of a tenant (or of the platform: None), oldest first, revoked ones too."""
    # `==` with None makes IS NULL.
    return s.scalars(select(ApiKey).where(ApiKey.tenant_id == tenant_id).order_by(ApiKey.id)).all()


def ensure_operator_key(s: Session, secret: str) -> None:
    """Put the platform operator's first key in place; harmless when it is there, even if revoked."""
    row = {
        "id": new_id("key"),
        "role": Role.OPERATOR.value,
        "label": "bootstrap",
        # People choose this secret: 8 characters of it might be half of it.
        "prefix": secret[:3],
        "hash": hash_secret(secret),
        "created_at": now(),
    }
    s.execute(insert_into(s, ApiKey).values(row).on_conflict_do_nothing(index_elements=["hash"]))


def authenticate(s: Session, secret: str) -> Principal:
    """Return whose key it is; raises `Unauthorized` for a wrong or revoked one."""
    key = s.scalar(select(ApiKey).where(ApiKey.hash == hash_secret(secret), ApiKey.revoked_at.is_(None)))
    if key is None:
        raise Unauthorized("The API key is wrong or revoked. Ask your operator for a new one.")
    return Principal(key_id=key.id, role=Role(key.role), tenant_id=key.tenant_id, label=key.label)
