"""Keys that are replaced, expire, or must stay."""

import threading
from datetime import timedelta

import pytest

from app.core.clock import now
from app.core.errors import Conflict, NotFound, Unauthorized
from app.store import tenants
from app.store.db import Database
from app.store.keys import revoke_platform_key, rotate_key


@pytest.fixture
def acme(database: Database) -> str:
    """The id of a tenant."""
    with database.session() as s:
        return tenants.create_tenant(s, "acme").id


def is_let_in(database: Database, secret: str) -> bool:
    with database.read() as s:
        try:
            tenants.authenticate(s, secret)
        except Unauthorized:
            return False
    return True


def test_a_key_ends_when_it_says(database: Database, acme: str) -> None:
    with database.session() as s:
        past, over = tenants.create_key(s, acme, "reader", "", now() - timedelta(seconds=1))
        _, secret = tenants.create_key(s, acme, "reader", "", now() + timedelta(hours=1))
    assert is_let_in(database, secret)
    assert not is_let_in(database, over)
    with database.session() as s, pytest.raises(Conflict, match="expired"):
        rotate_key(s, acme, past.id, 0)


def test_rotation_at_once(database: Database, acme: str) -> None:
    end = now() + timedelta(hours=1)
    with database.session() as s:
        old, secret = tenants.create_key(s, acme, "writer", "ci", end)
        new, replacement = rotate_key(s, acme, old.id, 0)
    assert (new.role, new.label, new.expires_at) == ("writer", "ci", end)
    assert is_let_in(database, replacement)
    assert not is_let_in(database, secret)
    with database.session() as s:
        with pytest.raises(Conflict, match="revoked"):
            rotate_key(s, acme, old.id, 0)
        for tenant in (None, "ten_other"):
            with pytest.raises(NotFound):
                rotate_key(s, tenant, new.id, 0)


def test_rotation_with_a_grace(database: Database, acme: str) -> None:
    with database.session() as s:
        old, secret = tenants.create_key(s, acme, "writer", "ci")
        _, replacement = rotate_key(s, acme, old.id, 60)
        assert old.expires_at is not None
        assert timedelta(seconds=50) < old.expires_at - now() <= timedelta(seconds=60)
    assert is_let_in(database, secret)
    assert is_let_in(database, replacement)
    with database.session() as s:
        tenants.revoke_key(s, acme, old.id)
    assert not is_let_in(database, secret)


def test_a_grace_makes_no_key_last_longer(database: Database, acme: str) -> None:
    end = now() + timedelta(seconds=30)
    with database.session() as s:
        old, _ = tenants.create_key(s, acme, "writer", "ci", end)
        rotate_key(s, acme, old.id, 3600)
        assert old.expires_at == end


def test_the_platform_keeps_a_key_that_lasts(database: Database) -> None:
    with database.session() as s:
        first, _ = tenants.create_key(s, None, "operator", "")
        tenants.create_key(s, None, "operator", "", now() + timedelta(hours=1))
    with database.session() as s, pytest.raises(Conflict, match="Create another"):
        revoke_platform_key(s, first.id)
    with database.session() as s:
        _, secret = rotate_key(s, None, first.id, 0)
        with pytest.raises(NotFound):
            revoke_platform_key(s, "key_x")
        assert revoke_platform_key(s, first.id).revoked_at  # again: harmless
    assert is_let_in(database, secret)


def test_two_at_once_cannot_revoke_the_last_two(database: Database) -> None:
    with database.session() as s:
        ids = [tenants.create_key(s, None, "operator", "")[0].id for _ in range(2)]
    start, refused = threading.Barrier(2), list[str]()

    def revoke(key_id: str) -> None:
        start.wait()
        try:
            with database.session() as s:
                revoke_platform_key(s, key_id)
        except Conflict:
            refused.append(key_id)

    threads = [threading.Thread(target=revoke, args=(key_id,)) for key_id in ids]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(refused) == 1
