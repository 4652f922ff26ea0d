"""Console sessions: as good as their key, as long as it is good, and no longer than their hours."""

from datetime import timedelta

import pytest

from app.core.clock import now
from app.core.errors import Forbidden, Unauthorized
from app.store import sessions, tenants
from app.store.db import Database
from app.store.tables import ConsoleSession
from app.store.tenants import Role, authenticate, create_key, create_tenant, revoke_key


def begun(database: Database, lasts: timedelta | None = None) -> tuple[str, str, str]:
    """A tenant's id, its key's id, and the token of a session of that key."""
    with database.session() as s:
        tenant = create_tenant(s, "cinema")
        ends = now() + lasts if lasts else None
        key, secret = create_key(s, tenant.id, Role.WRITER, "laptop", ends)
        return tenant.id, key.id, sessions.open_session(s, secret)


def test_a_token_is_as_good_as_its_key_and_is_stored_as_a_hash(database: Database) -> None:
    tenant_id, key_id, token = begun(database, timedelta(minutes=5))
    with database.read() as s:
        principal = authenticate(s, token)
        stored = s.query(ConsoleSession).one()
        assert token not in str(vars(stored))
    assert (principal.tenant_id, principal.key_id, principal.role) == (tenant_id, key_id, Role.WRITER)
    assert principal.expires_at is not None
    assert principal.expires_at < now() + timedelta(minutes=6)  # not beyond its key


def test_it_ends_when_it_is_closed(database: Database) -> None:
    _, _, token = begun(database)
    with database.session() as s:
        sessions.close_session(s, token)
        sessions.close_session(s, token)
    with database.read() as s, pytest.raises(Unauthorized):
        authenticate(s, token)


def test_it_ends_with_its_key(database: Database) -> None:
    tenant_id, key_id, token = begun(database)
    with database.session() as s:
        revoke_key(s, tenant_id, key_id)
    with database.read() as s, pytest.raises(Unauthorized):
        authenticate(s, token)


def test_it_ends_with_its_tenant(database: Database) -> None:
    _, _, token = begun(database)
    with database.session() as s:
        tenants.delete_tenant(s, "cinema")
    with database.read() as s, pytest.raises(Unauthorized):
        authenticate(s, token)


def test_it_ends_after_its_hours_and_is_pruned(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sessions, "LASTS", timedelta(seconds=-1))
    _, _, token = begun(database)
    with database.read() as s, pytest.raises(Unauthorized):
        authenticate(s, token)
    with database.session() as s:
        sessions.prune(s)
        assert s.query(ConsoleSession).count() == 0


def test_no_session_begins_another(database: Database) -> None:
    _, _, token = begun(database)
    with database.session() as s, pytest.raises(Forbidden):
        sessions.open_session(s, token)
