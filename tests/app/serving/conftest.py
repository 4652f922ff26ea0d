"""What the tests of serving start from."""

from pathlib import Path

import pytest

from app.core.config import Settings
from app.model.backbone import Backbone, Backbones
from app.serving.build import Builder
from app.serving.engine import Engine
from app.serving.folders import Folders
from app.store import channels, registry, releases, tenants
from app.store.catalog import ItemRow, upsert_items
from app.store.db import Database
from app.store.events import InteractionRow, append_interactions
from app.store.tables import Channel
from tests.fakes import SMALL

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


@pytest.fixture
def builder(sqlite: Database, backbone: Backbone, tmp_path: Path) -> Builder:
    """Builds releases of the tiny backbone into a folder of their own."""
    return Builder(sqlite, Backbones(backbone), Folders(tmp_path / "releases"))


@pytest.fixture
def engine(sqlite: Database, backbone: Backbone, tmp_path: Path) -> Engine:
    """An engine that nobody has started."""
    return Engine(Backbones(backbone), sqlite, Settings(home=tmp_path))


def add_adapter(db: Database, channel: Channel, backbone: Backbone, weights: bytes) -> int:
    """Register and promote an adapter of the config `SMALL`; returns its version."""
    with db.session() as s:
        adapter = registry.register(
            s,
            channel.id,
            method="houlsby",
            config=SMALL.model_dump(exclude_none=True),
            weights=weights,
            backbone_fingerprint=backbone.fingerprint,
            metrics={},
            source="upload",
            actor="test",
        )
        releases.promote(s, channel.id, adapter.version, actor="test", reason="")
        return adapter.version
