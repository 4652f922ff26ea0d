"""The audit log."""

from datetime import timedelta

import pytest

from app.core.clock import now
from app.store import audit, tenants
from app.store.audit import Act
from app.store.db import Database
from app.store.tables import AuditEntry
from app.store.tenants import Principal, Role

DETAIL = {"target": {"version": "3"}, "body": {"reason": "a \u0000 ä"}}
PLATFORM = Principal("key_p", Role.OPERATOR, None, "boss")


@pytest.fixture
def acme(database: Database) -> Principal:
    """An operator of the tenant acme."""
    with database.session() as s:
        return Principal("key_a", Role.OPERATOR, tenants.create_tenant(s, "acme").id, "ops")


def write(database: Database, who: Principal, tenant: str | None, action: str, channel: str = "books") -> int:
    with database.session() as s:
        return audit.begin(s, who, tenant, Act(action, channel, DETAIL, "req-1"))


def test_an_act_is_there_before_its_outcome(database: Database, acme: Principal) -> None:
    entry_id = write(database, acme, None, "promote")
    with database.read() as s:
        (entry,) = audit.entries(s)
        assert (entry.id, entry.status, entry.actor, entry.actor_label) == (entry_id, None, "key_a", "ops")
        assert (entry.tenant_id, entry.channel, entry.request_id) == (acme.tenant_id, "books", "req-1")
        assert entry.detail == DETAIL
    with database.session() as s:
        audit.complete(s, entry_id, 409)
    with database.read() as s:
        assert audit.entries(s)[0].status == 409


def test_whose_an_act_is(database: Database, acme: Principal) -> None:
    for who, tenant in (
        (acme, None),
        (acme, "other"),
        (PLATFORM, "acme"),
        (PLATFORM, "nope"),
        (PLATFORM, None),
    ):
        write(database, who, tenant, "promote")
    with database.read() as s:
        owners = [entry.tenant_id for entry in audit.entries(s)]
        assert owners == [None, None, acme.tenant_id, acme.tenant_id, acme.tenant_id]
        assert len(audit.entries(s, tenant_id=acme.tenant_id)) == 3


def test_pages_and_filters(database: Database, acme: Principal) -> None:
    ids = [write(database, acme, None, f"act{n % 2}", f"c{n % 3}") for n in range(12)]
    with database.read() as s:
        first = audit.entries(s, limit=5)
        second = audit.entries(s, limit=5, before=first[-1].id)
        assert [entry.id for entry in [*first, *second]] == ids[:1:-1]
        found = audit.entries(s, channel="c1", action="act1")
        assert [entry.id for entry in found] == [ids[7], ids[1]]


def test_what_is_old_is_pruned(database: Database, acme: Principal) -> None:
    ids = [write(database, acme, None, "promote") for _ in range(3)]
    with database.session() as s:
        for entry in s.query(AuditEntry).where(AuditEntry.id.in_(ids[:2])):
            entry.at = now() - timedelta(days=31)
    with database.session() as s:
        assert audit.prune(s, 30) == 2
        assert [entry.id for entry in audit.entries(s)] == ids[2:]
