"""Who may do what: remembered, and forgotten in time."""

import time
from collections.abc import Callable
from datetime import timedelta

import pytest
from sqlalchemy import event

from app.core.clock import now
from app.core.errors import Forbidden, NotFound, Unauthorized
from app.store import channels, tenants
from app.store.access import RememberedAccess
from app.store.db import Database
from app.store.quotas import Limits, TenantLimits
from app.store.tables import ApiKey
from app.store.tenants import Role

Make = Callable[[str], str]


@pytest.fixture
def make_key(database: Database) -> Make:
    """Makes keys of the tenant acme, which has a channel `books`."""
    with database.session() as s:
        tenant = tenants.create_tenant(s, "acme").id
        channels.create_channel(s, tenant, "books", "", "fingerprint")

    def make(role: str) -> str:
        with database.session() as s:
            return tenants.create_key(s, tenant, role, "")[1]

    return make


def look(database: Database, memory: RememberedAccess) -> None:
    with database.read() as s:
        memory.look(s)


def revoke(database: Database, secret: str) -> None:
    with database.session() as s:
        who = tenants.authenticate(s, secret)
        tenants.revoke_key(s, who.tenant_id, who.key_id)


def test_a_second_question_needs_no_database(database: Database, make_key: Make) -> None:
    memory, secret = RememberedAccess(database), make_key("reader")
    assert memory.get(secret, None, "books", Role.READER) is None
    asked = memory.ask(secret, None, "books", Role.READER)
    statements: list[object] = []
    event.listen(database.engine, "before_cursor_execute", lambda *seen: statements.append(seen))
    assert memory.get(secret, None, "books", Role.READER) is asked
    assert not statements
    # Another role, channel or tenant is another question.
    assert memory.get(secret, None, "books", Role.WRITER) is None
    assert memory.get(secret, None, "other", Role.READER) is None
    assert memory.get(secret, "acme", "books", Role.READER) is None


def test_who_was_refused_is_asked_about_again(database: Database, make_key: Make) -> None:
    memory, secret = RememberedAccess(database), make_key("reader")
    for error, question in (
        (Unauthorized, ("tr_wrong", None, "books", Role.READER)),
        (Forbidden, (secret, None, "books", Role.WRITER)),
        (NotFound, (secret, None, "films", Role.READER)),
        (NotFound, (secret, "others", "books", Role.READER)),
    ):
        with pytest.raises(error):
            memory.ask(*question)
        assert memory.get(*question) is None
    with database.session() as s:
        channels.create_channel(s, tenants.get_tenant(s, "acme").id, "films", "", "fingerprint")
    assert memory.ask(secret, None, "films", Role.READER).channel.name == "films"


def test_a_revocation_is_seen_at_the_next_look(database: Database, make_key: Make) -> None:
    memory, secret, other = RememberedAccess(database), make_key("reader"), make_key("reader")
    look(database, memory)
    memory.ask(secret, None, "books", Role.READER)
    look(database, memory)
    assert memory.get(secret, None, "books", Role.READER)  # nothing has changed
    revoke(database, other)
    look(database, memory)
    assert memory.get(secret, None, "books", Role.READER) is None  # any revocation forgets all
    memory.ask(secret, None, "books", Role.READER)
    revoke(database, secret)
    look(database, memory)
    assert memory.get(secret, None, "books", Role.READER) is None
    with pytest.raises(Unauthorized):
        memory.ask(secret, None, "books", Role.READER)


def test_an_answer_read_before_a_revocation_is_not_remembered_after_it(
    database: Database, make_key: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    memory, secret = RememberedAccess(database), make_key("reader")
    look(database, memory)
    real = tenants.authenticate

    def slow(*args: object) -> object:  # the key is revoked while its question is under way
        found = real(*args)  # type: ignore[arg-type]
        monkeypatch.undo()
        memory.forget()
        return found

    monkeypatch.setattr("app.store.access.authenticate", slow)
    memory.ask(secret, None, "books", Role.READER)
    assert memory.get(secret, None, "books", Role.READER) is None


def test_an_answer_lasts_no_longer_than_its_key(database: Database, make_key: Make) -> None:
    memory, secret = RememberedAccess(database), make_key("reader")
    with database.session() as s:
        key = s.get(ApiKey, tenants.authenticate(s, secret).key_id)
        assert key
        key.expires_at = now() + timedelta(seconds=0.5)
    memory.ask(secret, None, "books", Role.READER)
    assert memory.get(secret, None, "books", Role.READER)
    time.sleep(0.6)
    assert memory.get(secret, None, "books", Role.READER) is None
    with pytest.raises(Unauthorized):
        memory.ask(secret, None, "books", Role.READER)


def test_a_channel_that_is_gone_is_forgotten(database: Database, make_key: Make) -> None:
    memory, secret = RememberedAccess(database), make_key("reader")
    access = memory.ask(secret, None, "books", Role.READER)
    memory.keep_only({access.channel_id, "chn_other"})
    assert memory.get(secret, None, "books", Role.READER)
    memory.keep_only({access.channel_id})
    assert memory.get(secret, None, "books", Role.READER) is None


def test_a_deleted_tenants_keys_are_forgotten_whatever_replaced_them(
    database: Database, make_key: Make
) -> None:
    memory, secret = RememberedAccess(database), make_key("reader")
    look(database, memory)
    memory.ask(secret, None, "books", Role.READER)
    with database.session() as s:  # as many keys as before
        tenants.delete_tenant(s, "acme")
        tenants.create_key(s, tenants.create_tenant(s, "other").id, "reader", "")
    look(database, memory)
    assert memory.get(secret, None, "books", Role.READER) is None


def test_a_look_reads_the_limits(database: Database, make_key: Make) -> None:
    limits = TenantLimits(Limits(items=7))
    memory, secret = RememberedAccess(database, limits), make_key("reader")
    tenant_id = memory.ask(secret, None, "books", Role.READER).tenant_id
    with database.session() as s:
        tenants.set_limits(s, "acme", {"items": 3})
    assert limits.of(tenant_id).items == 7
    look(database, memory)
    assert limits.of(tenant_id).items == 3
