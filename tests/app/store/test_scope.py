"""No key reaches another tenant."""

import pytest

from app.core.errors import Forbidden, Invalid, NotFound
from app.store.db import Database
from app.store.scope import require_platform, scope_for
from app.store.tables import Channel
from app.store.tenants import Principal, Role, create_tenant

PLATFORM = Principal("k", Role.OPERATOR, None, "")


def test_own_tenant(database: Database, channel: Channel) -> None:
    writer = Principal("k", Role.WRITER, channel.tenant_id, "")
    with database.read() as s:
        for name in (None, "acme"):
            assert scope_for(s, writer, name, Role.READER).channel(s, "books").id == channel.id
        with pytest.raises(NotFound, match="There is no channel 'nope'"):
            scope_for(s, writer, None, Role.WRITER).channel(s, "nope")
        with pytest.raises(Forbidden, match="operator; yours is writer"):
            scope_for(s, writer, None, Role.OPERATOR)
        with pytest.raises(Forbidden):
            require_platform(writer)


def test_another_tenant_looks_as_if_it_were_not_there(database: Database, channel: Channel) -> None:
    with database.session() as s:
        stranger = Principal("k", Role.OPERATOR, create_tenant(s, "other").id, "")
    with database.read() as s:
        messages = []
        for name in ("acme", "none"):
            with pytest.raises(NotFound) as caught:
                scope_for(s, stranger, name, Role.READER)
            messages.append(caught.value.message.replace(name, "NAME"))
        assert messages[0] == messages[1]
        with pytest.raises(NotFound):
            scope_for(s, stranger, None, Role.READER).channel(s, "books")


def test_platform_operator_names_a_tenant(database: Database, channel: Channel) -> None:
    require_platform(PLATFORM)
    with database.read() as s:
        assert scope_for(s, PLATFORM, "acme", Role.OPERATOR).channel(s, "books").id == channel.id
        with pytest.raises(Invalid, match=r"\?tenant=NAME"):
            scope_for(s, PLATFORM, None, Role.READER)
        with pytest.raises(NotFound):
            scope_for(s, PLATFORM, "none", Role.READER)
