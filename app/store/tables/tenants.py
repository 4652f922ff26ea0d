"""Tenants and their keys; who did what."""

from datetime import datetime
from typing import Any

from sqlalchemy import ForeignKey
from sqlalchemy.orm import Mapped, mapped_column

from app.store.tables.base import Base, Serial


class Tenant(Base):
    """A customer of the platform; `limits` are those that differ from the defaults."""

    __tablename__ = "tenants"
    id: Mapped[str] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(unique=True)
    limits: Mapped[dict[str, Any]] = mapped_column(default=dict, server_default="{}")
    created_at: Mapped[datetime]


class ApiKey(Base):
    """A key, stored as a hash; without a tenant it is the platform operator's."""

    __tablename__ = "api_keys"
    id: Mapped[str] = mapped_column(primary_key=True)
    tenant_id: Mapped[str | None] = mapped_column(ForeignKey("tenants.id", ondelete="CASCADE"), index=True)
    role: Mapped[str]
    label: Mapped[str]
    prefix: Mapped[str]
    hash: Mapped[str] = mapped_column(unique=True)
    created_at: Mapped[datetime]
    expires_at: Mapped[datetime | None]
    revoked_at: Mapped[datetime | None]


class ConsoleSession(Base):
    """Somebody who signed in at the web console with a key: a short-lived stand-in for it, stored as a hash.

    It ends with its key.
    """

    __tablename__ = "console_sessions"
    __table_args__ = {"info": {"backup": False}}  # noqa: RUF012 - SQLAlchemy's own form
    hash: Mapped[str] = mapped_column(primary_key=True)
    key_id: Mapped[str] = mapped_column(ForeignKey("api_keys.id", ondelete="CASCADE"), index=True)
    expires_at: Mapped[datetime]


class AuditEntry(Base):
    """An act of the control plane: written before it is done, with its outcome (an HTTP status) after.

    It outlives its tenant, its channel and its key, so it names them and refers to none.
    """

    __tablename__ = "audit"
    id: Mapped[int] = mapped_column(Serial, primary_key=True, autoincrement=True)
    at: Mapped[datetime]
    tenant_id: Mapped[str | None] = mapped_column(index=True)
    channel: Mapped[str | None]
    action: Mapped[str]
    detail: Mapped[dict[str, Any]]
    actor: Mapped[str]
    actor_label: Mapped[str]
    request_id: Mapped[str | None]
    status: Mapped[int | None]
