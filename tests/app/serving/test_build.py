"""Bundles."""

import dataclasses

import numpy as np
import pytest
import torch
from sqlalchemy import update

from app.core.config import Settings
from app.core.errors import Invalid, Unavailable
from app.model.backbone import Backbone, Backbones
from app.model.snapshot import content_digest, snapshot_from_bytes, snapshot_to_bytes
from app.serving.build import build
from app.serving.engine import Engine
from app.serving.release import validate
from app.store import registry, releases, vectors
from app.store.catalog import ItemRow, upsert_items
from app.store.channels import bump_generation, generations
from app.store.db import Database
from app.store.tables import Adapter, Channel
from tests.fakes import SMALL, adapter_bytes


def add_adapter(db: Database, channel: Channel, backbone: Backbone, weights: bytes) -> int:
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


def refresh(engine: Engine) -> None:
    with engine.db.read() as s:
        current = generations(s)
    for channel_id, generation in current.items():
        engine.refresh(channel_id, generation)


def test_snapshot_codec() -> None:
    rows = np.arange(4, dtype=np.float32).reshape(2, 2)
    found = snapshot_from_bytes(snapshot_to_bytes([content_digest("A"), content_digest("b")], rows))
    assert found[content_digest("a")].tolist() == [0, 1]
    assert snapshot_from_bytes(snapshot_to_bytes([], np.empty((0, 2), np.float32))) == {}
    for bad in (
        b"",
        b"nonsense",
        snapshot_to_bytes([content_digest("a")], np.full((1, 2), np.nan, np.float32)),
    ):
        with pytest.raises(Invalid):
            snapshot_from_bytes(bad)


def test_only_missing_texts_are_encoded(sqlite: Database, backbone: Backbone, channel: Channel) -> None:
    encoded: list[int] = []  # texts that each build encoded

    def note(done: int, total: int) -> None:
        if done == total:
            encoded.append(total)

    first = build(sqlite, Backbones(backbone), channel.id, progress=note)
    assert (first.version, first.method, encoded) == (0, "zero-shot", [40])
    # Another process finds the stored snapshot.
    assert build(sqlite, Backbones(backbone), channel.id, progress=note).digest == first.digest
    with sqlite.session() as s:
        upsert_items(s, channel.id, [ItemRow("new", "wholly new"), ItemRow("twin", "THING 1 of kind 1")])
        bump_generation(s, channel.id)
    second = build(sqlite, Backbones(backbone), channel.id, first, note)
    assert encoded == [40, 1]
    assert second.of_item[second.row_of["twin"]] == second.of_item[second.row_of["i1"]]
    assert second.digest != first.digest
    with sqlite.session() as s:
        vectors.save_vectors(s, channel.id, "", backbone.fingerprint, b"damaged")
    assert build(sqlite, Backbones(backbone), channel.id, progress=note).generation == second.generation
    assert encoded == [40, 1, 41]


def test_an_adapter_leaves_the_backbone_alone(sqlite: Database, backbone: Backbone, channel: Channel) -> None:
    before = {k: v.clone() for k, v in backbone.model.state_dict().items()}
    bare = build(sqlite, Backbones(backbone), channel.id)
    add_adapter(sqlite, channel, backbone, adapter_bytes(backbone, 1))
    adapted = build(sqlite, Backbones(backbone), channel.id, bare)
    assert (adapted.version, adapted.method) == (1, "houlsby")
    assert not torch.equal(adapted.vectors, bare.vectors)
    assert all(torch.equal(before[k], v) for k, v in backbone.model.state_dict().items())


def test_a_failing_build_leaves_the_old_bundle(
    sqlite: Database, backbone: Backbone, channel: Channel
) -> None:
    engine = Engine(Backbones(backbone), sqlite, Settings())
    with pytest.raises(Unavailable):
        engine.bundle(channel.id)
    refresh(engine)
    old = engine.bundle(channel.id)
    version = add_adapter(sqlite, channel, backbone, adapter_bytes(backbone, 1))
    with sqlite.session() as s:
        s.execute(update(Adapter).values(weights=b"rotten"))
    refresh(engine)
    assert engine.bundle(channel.id) is old
    assert "damaged" in engine.failures[channel.id].reason
    with sqlite.session() as s:
        releases.rollback(s, channel.id, actor="test", reason="")
    refresh(engine)
    assert engine.bundle(channel.id).version == 0 != version
    assert not engine.failures


def test_a_foreign_adapter_is_not_loaded(sqlite: Database, backbone: Backbone, channel: Channel) -> None:
    foreign = dataclasses.replace(backbone, fingerprint="other")
    add_adapter(sqlite, channel, backbone, adapter_bytes(foreign, 1))
    with pytest.raises(Invalid, match="another backbone"):
        build(sqlite, Backbones(backbone), channel.id)


def test_validate(sqlite: Database, backbone: Backbone, channel: Channel) -> None:
    bundle = build(sqlite, Backbones(backbone), channel.id)
    bad = [
        dataclasses.replace(bundle, counts=bundle.counts[1:]),
        dataclasses.replace(bundle, vectors=bundle.vectors[:, 1:]),
        dataclasses.replace(bundle, vectors=bundle.vectors * torch.nan),
    ]
    for broken in bad:
        with pytest.raises(Invalid):
            validate(broken)


def test_gone_channels_are_unloaded(sqlite: Database, backbone: Backbone, channel: Channel) -> None:
    engine = Engine(Backbones(backbone), sqlite, Settings())
    refresh(engine)
    engine.keep_only(set())
    assert not engine.live
