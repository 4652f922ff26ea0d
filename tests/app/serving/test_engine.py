"""What answers for a channel, and where it lies."""

from pathlib import Path

import pytest
from sqlalchemy import delete, update

from app.core.config import Settings
from app.core.errors import Conflict, Unavailable
from app.model.backbone import Backbone, Backbones
from app.serving.catalog import ITEMS
from app.serving.engine import Engine
from app.store import channels, releases
from app.store.catalog import ItemRow, upsert_items
from app.store.channels import counters
from app.store.db import Database
from app.store.tables import Adapter, Channel
from tests.app.serving.conftest import add_adapter
from tests.fakes import adapter_bytes


def refresh(engine: Engine) -> None:
    with engine.db.read() as s:
        current = counters(s)
    for channel_id, (generation, _) in current.items():
        engine.refresh(channel_id, generation)


def test_a_failing_build_leaves_the_old_release(
    engine: Engine, sqlite: Database, backbone: Backbone, channel: Channel
) -> None:
    with pytest.raises(Unavailable, match="not loaded yet"):
        engine.release(channel.id)
    refresh(engine)
    old = engine.release(channel.id)
    version = add_adapter(sqlite, channel, backbone, adapter_bytes(backbone, 1))
    with sqlite.session() as s:
        s.execute(update(Adapter).values(weights=b"rotten"))
    refresh(engine)
    assert engine.release(channel.id) is old
    assert "damaged" in engine.failures[channel.id].reason
    with sqlite.session() as s:
        releases.rollback(s, channel.id, actor="test", reason="")
    refresh(engine)
    assert engine.release(channel.id).version == 0 != version
    assert not engine.failures


def test_what_is_asked_for_stays_open(engine: Engine, channel: Channel) -> None:
    refresh(engine)
    release = engine.release(channel.id)
    assert engine.host.get(release.folder) is None
    bundle = engine.open(release)
    assert engine.host.get(release.folder) is engine.open(release) is bundle
    assert (engine.host.stats.hits, engine.host.stats.misses) == (2, 1)
    assert (engine.host.stats.releases, engine.host.stats.bytes) == (1, bundle.nbytes)


def test_the_successor_of_an_open_release_is_open(
    engine: Engine, sqlite: Database, backbone: Backbone, channel: Channel
) -> None:
    refresh(engine)
    old = engine.open(engine.release(channel.id))
    add_adapter(sqlite, channel, backbone, adapter_bytes(backbone, 1))
    refresh(engine)
    release = engine.release(channel.id)
    assert release.version == 1
    assert release.folder in engine.host
    assert old.catalog.item_id(0) == "i0"  # whoever holds the old one can still read it


def test_the_host_tier_has_a_budget(sqlite: Database, backbone: Backbone, tmp_path: Path) -> None:
    with sqlite.session() as s:
        tenant = channels_of(s, backbone, 6)
    probe = Engine(Backbones(backbone), sqlite, Settings(home=tmp_path))
    refresh(probe)
    size = probe.open(probe.release(tenant[0])).nbytes
    small = Engine(Backbones(backbone), sqlite, Settings(home=tmp_path, host_bytes=int(2.5 * size)))
    refresh(small)
    for channel_id in tenant:
        small.open(small.release(channel_id))
    still = [channel_id for channel_id in tenant if small.release(channel_id).folder in small.host]
    assert still == tenant[-2:]  # those asked for last
    tiny = Engine(Backbones(backbone), sqlite, Settings(home=tmp_path, host_bytes=1))
    refresh(tiny)
    assert tiny.open(tiny.release(tenant[0])).catalog.size  # too big to stay, it answers all the same


def channels_of(s: object, backbone: Backbone, count: int) -> list[str]:
    from app.store import tenants

    tenant = tenants.create_tenant(s, "several").id  # type: ignore[arg-type]
    made = []
    for n in range(count):
        channel = channels.create_channel(s, tenant, f"c{n}", "", backbone.fingerprint)  # type: ignore[arg-type]
        upsert_items(s, channel.id, [ItemRow(f"i{m}", f"thing {m}") for m in range(20)])  # type: ignore[arg-type]
        made.append(channel.id)
    return made


def test_a_release_damaged_on_disk_is_built_again(engine: Engine, channel: Channel) -> None:
    refresh(engine)
    release = engine.release(channel.id)
    (release.folder / ITEMS).write_bytes(b"rotten")
    with pytest.raises(Unavailable, match="damaged"):
        engine.open(release)
    refresh(engine)
    assert engine.open(engine.release(channel.id)).catalog.size == 40


def test_a_channel_without_items(engine: Engine, sqlite: Database, backbone: Backbone) -> None:
    with sqlite.session() as s:
        from app.store import tenants

        empty = channels.create_channel(s, tenants.create_tenant(s, "e").id, "e", "", backbone.fingerprint)
    refresh(engine)
    with pytest.raises(Conflict, match="no items"):
        engine.release(empty.id)


def test_gone_channels_are_unloaded(engine: Engine, sqlite: Database, channel: Channel) -> None:
    refresh(engine)
    folder = engine.release(channel.id).folder
    with sqlite.session() as s:
        s.execute(delete(Channel).where(Channel.id == channel.id))
    engine.keep_only(set())
    assert not engine.live
    assert not folder.exists()


def test_events_revisions_are_noted(engine: Engine) -> None:
    assert engine.events_revision("c") == 0
    engine.note_events({"c": 7})
    assert engine.events_revision("c") == 7
