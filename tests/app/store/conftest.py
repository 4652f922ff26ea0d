"""What the store's tests start from."""

import pytest

from app.store.catalog import ItemRow, upsert_items
from app.store.channels import create_channel
from app.store.db import Database
from app.store.tables import Channel
from app.store.tenants import create_tenant


@pytest.fixture
def channel(database: Database) -> Channel:
    """An empty channel `books` of the tenant `acme`."""
    with database.session() as s:
        return create_channel(s, create_tenant(s, "acme").id, "books", "", "bb-1")


@pytest.fixture
def posters(database: Database) -> Channel:
    """A channel `posters` that reads images, with the items a, b, c and d/1."""
    with database.session() as s:
        channel = create_channel(s, create_tenant(s, "cinema").id, "posters", "", "bb-1", "image")
        upsert_items(
            s, channel.id, [ItemRow(item_id, f"film {item_id}") for item_id in ("a", "b", "c", "d/1")]
        )
        return channel
