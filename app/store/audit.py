"""The audit log: who did what when. An act is written down before it is done, its outcome after."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from sqlalchemy import delete, select, update
from sqlalchemy.orm import Session

from app.core.clock import now
from app.store.tables import AuditEntry, Tenant
from app.store.tenants import Principal


@dataclass(frozen=True, slots=True)
class Act:
    """What somebody asks for: `action` is the operation's name, `detail` what it is done to and how."""

    action: str
    channel: str | None
    detail: dict[str, Any]
    request_id: str | None


def begin(s: Session, who: Principal, tenant: str | None, act: Act) -> int:
    """Write an act down before it is done; returns the entry's id.

    It is the tenant's whose key asks, or the one that the platform's operator names, if there is one.
    """
    entry = AuditEntry(
        at=now(),
        tenant_id=who.tenant_id or s.scalar(select(Tenant.id).where(Tenant.name == tenant)),
        channel=act.channel,
        action=act.action,
        detail=act.detail,
        actor=who.key_id,
        actor_label=who.label,
        request_id=act.request_id,
    )
    s.add(entry)
    s.flush()
    return entry.id


def complete(s: Session, entry_id: int, status: int) -> None:
    """Write down how an act ended: its HTTP status."""
    s.execute(update(AuditEntry).where(AuditEntry.id == entry_id).values(status=status))


def entries(
    s: Session,
    *,
    tenant_id: str | None = None,
    channel: str | None = None,
    action: str | None = None,
    before: int | None = None,
    limit: int = 100,
) -> Sequence[AuditEntry]:
    """Return entries, newest first: of a tenant, a channel's name, an action, with ids below `before`."""
    query = select(AuditEntry).order_by(AuditEntry.id.desc()).limit(limit)
    asked = ((AuditEntry.tenant_id, tenant_id), (AuditEntry.channel, channel), (AuditEntry.action, action))
    for column, value in asked:
        if value is not None:
            query = query.where(column == value)
    if before is not None:
        query = query.where(AuditEntry.id < before)
    return s.scalars(query).all()


def prune(s: Session, days: int) -> int:
    """Delete the entries that are older; returns how many."""
    old = delete(AuditEntry).where(AuditEntry.at < now() - timedelta(days=days))
    return len(s.scalars(old.returning(AuditEntry.id)).all())
