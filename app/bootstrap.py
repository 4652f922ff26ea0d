"""The first start: the schema, and a first key for the platform's operator."""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import make_url
from sqlalchemy.orm import Session

from app.core.config import Settings
from app.core.names import KEY_FILE
from app.core.valkey import redis_url
from app.store import keys, tenants
from app.store.db import Database
from app.store.tables import ApiKey
from app.store.tenants import Role
from app.store.wake import Wake


@contextmanager
def migrated(settings: Settings) -> Iterator[Database]:
    """Open the configured database with the newest schema in it; closed at the end."""
    database = Database(settings.resolved_database_url)
    try:
        database.migrate()
        yield database
    finally:
        database.dispose()


def public_url(settings: Settings) -> str:
    """The database's URL with its password hidden."""
    return make_url(settings.resolved_database_url).render_as_string(hide_password=True)


def key_file(settings: Settings) -> Path:
    """Where the key of the very first start is kept."""
    return settings.home / KEY_FILE


def first_operator_key(database: Database, settings: Settings) -> str | None:
    """Put the configured operator's key in place, or make the platform's very first one.

    Returns the secret of a key that was made just now, also written to `{home}/operator.key` (0600).
    """
    with database.session() as s:
        if settings.operator_key is not None:
            tenants.ensure_operator_key(s, settings.operator_key.get_secret_value())
            return None
        if tenants.list_keys(s, None):
            return None
        _, secret = tenants.create_key(s, None, Role.OPERATOR, "first start")
        # Before the commit: a key that could not be kept must not exist.
        _write_private(key_file(settings), secret)
    return secret


def create_key(database: Database, tenant: str | None, role: str, label: str) -> str:
    """Return the secret of a new key, of a tenant or of the platform's operator."""
    with database.session() as s:
        return tenants.create_key(s, _owner(s, tenant), role, label)[1]


def list_keys(database: Database, tenant: str | None) -> Sequence[ApiKey]:
    """Return the keys of a tenant or of the platform's operator."""
    with database.read() as s:
        return tenants.list_keys(s, _owner(s, tenant))


def revoke_key(database: Database, settings: Settings, tenant: str | None, key_id: str) -> None:
    """Make a key useless from now on, in every process."""
    with database.session() as s:
        if tenant is None:
            keys.revoke_platform_key(s, key_id)
        else:
            tenants.revoke_key(s, _owner(s, tenant), key_id)
    _wake(settings)


def rotate_key(
    database: Database, settings: Settings, tenant: str | None, key_id: str, grace_seconds: int
) -> str:
    """Return the secret of a new key in place of an old one, which is refused after `grace_seconds`."""
    with database.session() as s:
        _, secret = keys.rotate_key(s, _owner(s, tenant), key_id, grace_seconds)
    _wake(settings)
    return secret


def _wake(settings: Settings) -> None:
    wake = Wake(redis_url(settings))
    wake.look()
    wake.client.close()


def _owner(s: Session, tenant: str | None) -> str | None:
    return tenants.get_tenant(s, tenant).id if tenant else None


def _write_private(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)  # one left behind could have wider permissions
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text + "\n")
