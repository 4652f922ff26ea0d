"""Tenants and API keys."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import ColumnElement, delete, func, or_, select
from sqlalchemy.orm import Session

from app.core.clock import now
from app.core.errors import Conflict, Invalid, NotFound, Unauthorized
from app.core.ids import hash_secret, new_id, new_secret
from app.core.names import NAME_PATTERN, is_name
from app.core.request import note
from app.store.db import insert_into
from app.store.tables import ApiKey, Channel, ConsoleSession, Tenant

SESSION_PREFIX = "trs_"
"""What tells the token of a console session from a key."""


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
    expires_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Counts:
    """How much a tenant has of what is quickly counted."""

    channels: int
    keys: int


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
        raise no_tenant(name)
    return tenant


def no_tenant(name: str) -> NotFound:
    """The error for a tenant that is not there, or not for whom asks."""
    return NotFound(f"There is no tenant {name[:80]!r}. Check the name, or create it first.")


def set_limits(s: Session, name: str, changes: dict[str, int | None]) -> Tenant:
    """Set those of the tenant's limits that are named, None: back to the default. Raises `NotFound`."""
    # Locked, so that of two changes at once none is lost.
    tenant = s.scalar(select(Tenant).where(Tenant.name == name).with_for_update(key_share=True))
    if tenant is None:
        raise no_tenant(name)
    changed: dict[str, Any] = tenant.limits | changes
    tenant.limits = {key: value for key, value in changed.items() if value is not None}
    return tenant


def delete_tenant(s: Session, name: str) -> None:
    """Delete a tenant with all that is its own: keys, channels and whatever is in them. Raises `NotFound`."""
    if s.scalar(delete(Tenant).where(Tenant.name == name).returning(Tenant.id)) is None:
        raise no_tenant(name)


def list_tenants(
    s: Session, search: str | None = None, after: str | None = None, limit: int | None = None
) -> Sequence[Tenant]:
    """Return tenants by name: all, or those whose name has `search` in it and comes after `after`."""
    query = select(Tenant).order_by(Tenant.name).limit(limit)
    if search is not None:
        query = query.where(Tenant.name.contains(search.lower(), autoescape=True))
    if after is not None:
        query = query.where(Tenant.name > after)
    return s.scalars(query).all()


def names_of(s: Session, tenant_ids: Collection[str]) -> dict[str, str]:
    """Return the names of tenants by their ids, of those that are there."""
    query = select(Tenant.id, Tenant.name).where(Tenant.id.in_(tenant_ids))
    return {row.id: row.name for row in s.execute(query)}


def counts(s: Session, tenant_ids: Sequence[str]) -> dict[str, Counts]:
    """Return how many channels and valid keys each tenant has."""
    channels = _per_tenant(s, Channel, Channel.tenant_id.in_(tenant_ids))
    keys = _per_tenant(s, ApiKey, ApiKey.tenant_id.in_(tenant_ids) & is_valid(now()))
    return {each: Counts(channels.get(each, 0), keys.get(each, 0)) for each in tenant_ids}


def _per_tenant(s: Session, table: type[Channel | ApiKey], which: ColumnElement[bool]) -> dict[str, int]:
    query = select(table.tenant_id, func.count()).where(which).group_by(table.tenant_id)
    return {tenant_id: count for tenant_id, count in s.execute(query) if tenant_id is not None}


def create_key(
    s: Session, tenant_id: str | None, role: str, label: str, expires_at: datetime | None = None
) -> tuple[ApiKey, str]:
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
        expires_at=expires_at,
    )
    s.add(key)
    s.flush()
    return key, secret


def get_key(s: Session, tenant_id: str | None, key_id: str) -> ApiKey:
    """Return a key, locked until the commit; raises `NotFound` when `tenant_id` has no such key."""
    key = s.get(ApiKey, key_id, with_for_update=True)
    if key is None or key.tenant_id != tenant_id:
        raise NotFound(f"There is no key {key_id[:80]!r}. List the keys to find its id.")
    return key


def revoke_key(s: Session, tenant_id: str | None, key_id: str) -> ApiKey:
    """Make a key useless from now on; raises `NotFound` when `tenant_id` has no such key."""
    key = get_key(s, tenant_id, key_id)
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
    """Return whose key it is; raises `Unauthorized` for a wrong, revoked or expired one."""
    if secret.startswith(SESSION_PREFIX):
        return _of_session(s, secret)
    key = s.scalar(select(ApiKey).where(ApiKey.hash == hash_secret(secret), is_valid(now())))
    if key is None:
        raise Unauthorized("The API key is wrong, revoked or expired. Ask your operator for a new one.")
    return _principal(key, key.expires_at)


def _of_session(s: Session, token: str) -> Principal:
    query = select(ApiKey, ConsoleSession.expires_at).join(ConsoleSession, ConsoleSession.key_id == ApiKey.id)
    mine = ConsoleSession.hash == hash_secret(token)
    found = s.execute(query.where(mine, ConsoleSession.expires_at > now(), is_valid(now()))).one_or_none()
    if found is None:
        raise Unauthorized("The session has ended. Sign in again.")
    key, ends = found
    return _principal(key, ends if key.expires_at is None else min(ends, key.expires_at))


def _principal(key: ApiKey, expires_at: datetime | None) -> Principal:
    note(key_id=key.id, tenant_id=key.tenant_id)
    return Principal(key.id, Role(key.role), key.tenant_id, key.label, expires_at)


def is_valid(at: datetime) -> ColumnElement[bool]:
    """Whether a key may be used at a moment, as a condition on `ApiKey`."""
    return ApiKey.revoked_at.is_(None) & or_(ApiKey.expires_at.is_(None), ApiKey.expires_at > at)
