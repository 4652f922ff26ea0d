"""What the store's tests start from."""

import pytest

from app.store.channels import create_channel
from app.store.db import Database
from app.store.tables import Channel
from app.store.tenants import create_tenant


@pytest.fixture
def channel(database: Database) -> Channel:
    """An empty channel `books` of the tenant `acme`."""
    with database.session() as s:
        return create_channel(s, create_tenant(s, "acme").id, "books", "", "bb-1")
