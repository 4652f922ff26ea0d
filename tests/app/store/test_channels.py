"""Channels."""

import pytest
from sqlalchemy import delete, func, select

from app.core.errors import Conflict, Invalid, NotFound
from app.core.images import ImageInfo
from app.store import catalog, channels, events, images, jobs, registry, releases, vectors
from app.store.db import Database
from app.store.images import ImageRow
from app.store.tables import Base, Channel, Tenant


def test_new_channel_answers_with_the_bare_backbone(database: Database, channel: Channel) -> None:
    with database.read() as s:
        champion = releases.champion(s, channel.id)
        assert (champion.version, champion.adapter_id, champion.backbone_fingerprint) == (0, None, "bb-1")
        assert [found.name for found in channels.list_channels(s, channel.tenant_id)] == ["books"]
        assert channels.list_channels(s, "another") == []


def test_name_is_taken_or_bad(database: Database, channel: Channel) -> None:
    with database.session() as s:
        with pytest.raises(Conflict, match="already"):
            channels.create_channel(s, channel.tenant_id, "books", "", "bb-1")
        with pytest.raises(Invalid):
            channels.create_channel(s, channel.tenant_id, "Books!", "", "bb-1")


def test_modality(database: Database, channel: Channel) -> None:
    assert channel.modality == "text"
    with database.session() as s:
        channels.create_channel(s, channel.tenant_id, "posters", "", "bb-1", "image")
    with database.read() as s:
        found = channels.list_channels(s, channel.tenant_id)
        assert {each.name: each.modality for each in found} == {"books": "text", "posters": "image"}


def test_description(database: Database, channel: Channel) -> None:
    with database.session() as s:
        assert channels.describe_channel(s, channel.id, "all that is read").description == "all that is read"
        again = channels.describe_channel(s, channel.id, "all that is read")
        assert (again.name, again.generation) == ("books", 0)
        with pytest.raises(NotFound, match="gone"):
            channels.describe_channel(s, "chn_nowhere", "")


def test_generation_counts_up(database: Database, channel: Channel) -> None:
    with database.session() as s:
        channels.bump_generation(s, channel.id)
        channels.bump_generation(s, channel.id)
    with database.read() as s:
        assert channels.generations(s) == {channel.id: 2}


def test_everything_goes_with_the_channel(database: Database, channel: Channel) -> None:
    with database.session() as s:
        catalog.upsert_items(s, channel.id, [catalog.ItemRow("a", "A"), catalog.ItemRow("b", "B")])
        catalog.delete_items(s, channel.id, ["b"])
        events.append_interactions(s, channel.id, [events.InteractionRow("u", "a", 1)])
        job = jobs.create_job(s, channel.id, {}, "me")
        jobs.claim(s, job.id, "w", 60)
        jobs.save_checkpoint(s, job.id, owner="w", step=1, state={}, tensors=b"x")
        registry.register(
            s,
            channel.id,
            method="houlsby",
            config={},
            weights=b"w",
            backbone_fingerprint="bb-1",
            metrics={},
            source="training",
            actor="me",
            job_id=job.id,
        )
        releases.promote(s, channel.id, 1, actor="me", reason="")
        vectors.save_vectors(s, channel.id, "", "bb-1", b"v")
        images.upsert_images(s, channel.id, [ImageRow("a", ImageInfo("png", 8, 8, "0"), b"x")])
    with database.session() as s:
        s.execute(delete(Channel))
    with database.read() as s:
        for table in Base.metadata.sorted_tables:
            left = s.scalar(select(func.count()).select_from(table))
            assert left == (1 if table.name == Tenant.__tablename__ else 0), table.name
