"""The first start: the schema, and a first key for the platform's operator."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import make_url

from app.core.config import Settings
from app.store import tenants
from app.store.db import Database
from app.store.tenants import Role

KEY_FILE = "operator.key"


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
        tenant_id = tenants.get_tenant(s, tenant).id if tenant else None
        return tenants.create_key(s, tenant_id, role, label)[1]


def _write_private(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)  # one left behind could have wider permissions
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text + "\n")
