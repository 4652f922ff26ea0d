"""Tenants and keys."""

from datetime import timedelta

import pytest
from sqlalchemy import select

from app.core.clock import now
from app.core.errors import Conflict, Invalid, NotFound, Unauthorized
from app.core.images import ImageInfo
from app.store import audit, jobs, tenants
from app.store.audit import Act
from app.store.channels import create_channel, delete_channel
from app.store.db import Database
from app.store.events import InteractionRow, append_interactions
from app.store.images import ImageRow, upsert_images
from app.store.tables import ApiKey, Base, Channel


def test_tenants(database: Database) -> None:
    with database.session() as s:
        acme = tenants.create_tenant(s, "acme")
        tenants.create_tenant(s, "aaa")
    with database.read() as s:
        assert tenants.get_tenant(s, "acme").id == acme.id
        assert [tenant.name for tenant in tenants.list_tenants(s)] == ["aaa", "acme"]
        with pytest.raises(NotFound, match="'nope'"):
            tenants.get_tenant(s, "nope")


def test_tenants_by_page_and_what_they_have(database: Database) -> None:
    with database.session() as s:
        for name in ("acme", "ace", "a_b", "zoo"):
            tenants.create_tenant(s, name)
        acme, zoo = tenants.get_tenant(s, "acme").id, tenants.get_tenant(s, "zoo").id
        create_channel(s, acme, "books", "", "print")
        key, _ = tenants.create_key(s, acme, "reader", "")
        tenants.create_key(s, acme, "reader", "", now() - timedelta(seconds=1))
        tenants.create_key(s, None, "operator", "")
        tenants.create_key(s, acme, "writer", "")
        tenants.revoke_key(s, acme, key.id)
    with database.read() as s:
        assert [found.name for found in tenants.list_tenants(s, "ac", limit=1)] == ["ace"]
        assert [found.name for found in tenants.list_tenants(s, "ac", after="ace")] == ["acme"]
        assert [found.name for found in tenants.list_tenants(s, "_")] == ["a_b"]
        assert tenants.counts(s, [acme, zoo]) == {acme: tenants.Counts(1, 1), zoo: tenants.Counts(0, 0)}
        assert tenants.counts(s, []) == {}
        assert tenants.names_of(s, {acme, "gone"}) == {acme: "acme"}


@pytest.mark.parametrize("name", ["", "Acme", "-a", "a b", "a" * 64, "a\n", "ä"])
def test_bad_tenant_names(database: Database, name: str) -> None:
    with pytest.raises(Invalid, match="must match"), database.session() as s:
        tenants.create_tenant(s, name)


def test_tenant_name_is_taken(database: Database) -> None:
    with database.session() as s:
        tenants.create_tenant(s, "acme")
        with pytest.raises(Conflict):
            tenants.create_tenant(s, "acme")


def test_key_life(database: Database) -> None:
    with database.session() as s:
        acme = tenants.create_tenant(s, "acme").id
        other = tenants.create_tenant(s, "other").id
        key, secret = tenants.create_key(s, acme, "writer", "ci")
    assert secret.startswith("tr_") and key.prefix == secret[:8] and secret not in key.hash
    with database.read() as s:
        expected = tenants.Principal(key.id, tenants.Role.WRITER, acme, "ci")
        assert tenants.authenticate(s, secret) == expected
        assert [found.id for found in tenants.list_keys(s, acme)] == [key.id]
        assert tenants.list_keys(s, None) == []
    with database.session() as s:
        for wrong in (None, other):
            with pytest.raises(NotFound):
                tenants.revoke_key(s, wrong, key.id)
        tenants.revoke_key(s, acme, key.id)
    with database.read() as s, pytest.raises(Unauthorized):
        tenants.authenticate(s, secret)


def test_wrong_key(database: Database) -> None:
    with database.read() as s, pytest.raises(Unauthorized) as caught:
        tenants.authenticate(s, "tr_wrong")
    assert "tr_wrong" not in caught.value.message


def test_bad_roles(database: Database) -> None:
    with database.session() as s:
        acme = tenants.create_tenant(s, "acme").id
        with pytest.raises(Invalid, match="reader, writer, operator"):
            tenants.create_key(s, acme, "king", "")
        with pytest.raises(Invalid, match="Name a tenant"):
            tenants.create_key(s, None, "reader", "")


def test_operator_key_is_put_once_and_stays_revoked(database: Database) -> None:
    for _ in range(2):
        with database.session() as s:
            tenants.ensure_operator_key(s, "a-long-bootstrap-key")
    with database.session() as s:
        principal = tenants.authenticate(s, "a-long-bootstrap-key")
        assert (principal.role, principal.tenant_id) == ("operator", None)
        tenants.revoke_key(s, None, principal.key_id)
        tenants.ensure_operator_key(s, "a-long-bootstrap-key")
        with pytest.raises(Unauthorized):
            tenants.authenticate(s, "a-long-bootstrap-key")


def test_a_tenant_goes_with_all_that_is_its_own(database: Database, posters: Channel) -> None:
    with database.session() as s:
        upsert_images(s, posters.id, [ImageRow("a", ImageInfo("PNG", 8, 8, "x"), b"1")])
        append_interactions(s, posters.id, [InteractionRow("u", "a", 1)])
        jobs.create_job(s, posters.id, {}, "k")
        key, secret = tenants.create_key(s, posters.tenant_id, "reader", "")
        kept = create_channel(s, tenants.create_tenant(s, "other").id, "books", "", "bb")
        entry = audit.begin(s, tenants.authenticate(s, secret), None, Act("promote", "posters", {}, None))
    with database.session() as s:
        tenants.delete_tenant(s, "cinema")
    with database.read() as s:
        for table in Base.metadata.sorted_tables:
            if "channel_id" in table.c:
                assert not s.scalar(select(table).where(table.c.channel_id == posters.id)), table
        assert not s.get(ApiKey, key.id)
        assert s.scalars(select(Channel.id)).all() == [kept.id]
        assert [found.id for found in audit.entries(s)] == [entry]  # what was done stays
    with database.session() as s, pytest.raises(NotFound):
        tenants.delete_tenant(s, "cinema")


def test_what_is_written_into_a_deleted_channel_is_a_404(database: Database, channel: Channel) -> None:
    with database.session() as s:
        delete_channel(s, channel.id)
    for write in (
        lambda s: append_interactions(s, channel.id, [InteractionRow("u", "a", 1)]),
        lambda s: jobs.create_job(s, channel.id, {}, "k"),
        lambda s: delete_channel(s, channel.id),
    ):
        with pytest.raises(NotFound), database.session() as s:
            write(s)
