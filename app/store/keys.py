"""The life of keys: replaced by new ones, and the platform never left without one."""

from datetime import timedelta

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.core.clock import now
from app.core.errors import Conflict
from app.store.tables import ApiKey
from app.store.tenants import create_key, get_key, is_valid, revoke_key


def rotate_key(s: Session, tenant_id: str | None, key_id: str, grace_seconds: int) -> tuple[ApiKey, str]:
    """Return a new key in place of an old one, with its secret: the same role, label and end.

    The old one is refused after `grace_seconds`. Raises `NotFound`, and `Conflict` if it is refused already.
    """
    at, old = now(), get_key(s, tenant_id, key_id)
    if old.revoked_at is not None or (old.expires_at is not None and old.expires_at <= at):
        raise Conflict("The key is revoked or expired, so it cannot be rotated. Create a new one.")
    made = create_key(s, tenant_id, old.role, old.label, old.expires_at)
    if grace_seconds:
        end = at + timedelta(seconds=grace_seconds)
        old.expires_at = end if old.expires_at is None else min(old.expires_at, end)
    else:
        old.revoked_at = at
    return made


def revoke_platform_key(s: Session, key_id: str) -> ApiKey:
    """Revoke a key of the platform's operator; raises `NotFound`, and `Conflict` for the last that lasts."""
    # All are locked, in one order: of two revocations at once the second sees the first.
    valid = select(ApiKey.id).where(ApiKey.tenant_id.is_(None), is_valid(now()), ApiKey.expires_at.is_(None))
    lasting = set(s.scalars(valid.order_by(ApiKey.id).with_for_update()))
    if lasting == {key_id}:
        raise Conflict(
            "This is the last key of the platform's operator that does not expire. Create another one first."
        )
    return revoke_key(s, None, key_id)
