"""What the tests of serving start from."""

from pathlib import Path

import pytest

from app.model.backbone import Backbone
from app.store import channels, tenants
from app.store.catalog import ItemRow, upsert_items
from app.store.db import Database
from app.store.events import InteractionRow, append_interactions
from app.store.tables import Channel

ITEMS = [ItemRow(f"i{n}", f"thing {n} of kind {n % 7}", {"n": n}) for n in range(40)]


@pytest.fixture
def sqlite(tmp_path: Path) -> Database:
    """A SQLite database with the schema in it."""
    database = Database(f"sqlite:///{tmp_path / 'serving.db'}")
    database.migrate()
    return database


@pytest.fixture
def channel(sqlite: Database, backbone: Backbone) -> Channel:
    """A channel of 40 items; i3 is the most popular, then i5."""
    with sqlite.session() as s:
        tenant = tenants.create_tenant(s, "acme")
        channel = channels.create_channel(s, tenant.id, "books", "", backbone.fingerprint)
        upsert_items(s, channel.id, ITEMS)
        rows = [InteractionRow(f"u{n}", "i3", n) for n in range(3)] + [InteractionRow("u1", "i5", 9)]
        append_interactions(s, channel.id, rows)
        return channel
