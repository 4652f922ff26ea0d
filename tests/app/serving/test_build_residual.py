"""Releases whose adapter has learned of single items."""

from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from app.model import residual
from app.model.backbone import Backbone
from app.model.checkpoint import adapter_to_bytes
from app.model.snapshot import snapshot_from_bytes
from app.serving.build import Builder
from app.serving.release import Bundle, open_bundle
from app.store import catalog, releases, vectors
from app.store.catalog import ItemRow
from app.store.db import Database
from app.store.tables import Adapter, Channel
from tests.app.serving.conftest import ITEMS, add_adapter
from tests.app.serving.test_build import assert_same, delete, elsewhere, upsert
from tests.fakes import SMALL, adapter_weights

WARM = [item.item_id for item in ITEMS[:30]]
CONFIG = SMALL.model_copy(update={"item_residual": True})


@pytest.fixture
def learned() -> torch.Tensor:
    return torch.randn(len(WARM), 64, generator=torch.Generator().manual_seed(7)).half().float()


@pytest.fixture(autouse=True)
def adapter(sqlite: Database, channel: Channel, backbone: Backbone, learned: torch.Tensor) -> None:
    """Two of the same weights: version 1 without a residual, version 2 with one of the first 30 items."""
    weights = adapter_weights(backbone, 1)
    add_adapter(sqlite, channel, backbone, adapter_to_bytes(weights, SMALL, backbone.fingerprint))
    weights |= residual.begun(WARM, learned).tensors()
    add_adapter(sqlite, channel, backbone, adapter_to_bytes(weights, CONFIG, backbone.fingerprint))


def vectors_of(bundle: Bundle, *ids: str) -> NDArray[np.float32]:
    return bundle.vectors[[row for row in bundle.catalog.rows(ids) if row is not None]]


def promote(db: Database, channel: Channel, version: int) -> None:
    with db.session() as s:
        releases.promote(s, channel.id, version, actor="test", reason="")


def test_it_is_added_to_the_items_it_was_learned_of(
    sqlite: Database, channel: Channel, builder: Builder, learned: torch.Tensor
) -> None:
    with_it = open_bundle(builder.build(channel.id).folder)
    promote(sqlite, channel, 1)
    without = open_bundle(builder.build(channel.id).folder)
    ids = [item.item_id for item in ITEMS]
    added = np.zeros((40, 64), np.float32)
    added[:30] = learned.numpy()
    np.testing.assert_allclose(vectors_of(with_it, *ids), vectors_of(without, *ids) + added, atol=1e-5)


def test_a_new_item_stands_by_its_content(sqlite: Database, channel: Channel, builder: Builder) -> None:
    builder.build(channel.id)
    promote(sqlite, channel, 1)
    plain = open_bundle(builder.build(channel.id).folder)
    promote(sqlite, channel, 2)
    upsert(sqlite, channel, ItemRow("twin", ITEMS[0].text))  # of a warm one, whose own vector is not its
    bundle = open_bundle(builder.build(channel.id).folder)
    np.testing.assert_allclose(vectors_of(bundle, "twin"), vectors_of(plain, "i0"), atol=0.2)
    assert not np.allclose(vectors_of(bundle, "twin"), vectors_of(bundle, "i0"), atol=0.2)


def test_changes_give_what_a_whole_build_gives(
    sqlite: Database, channel: Channel, builder: Builder, tmp_path: Path
) -> None:
    builder.build(channel.id)
    for turn in range(4):
        # A warm item with another text, a cold one with a warm one's text, one that goes and comes back.
        upsert(
            sqlite,
            channel,
            ItemRow(f"i{turn}", f"other {turn}"),
            ItemRow(f"new{turn}", ITEMS[10 + turn].text),
            ItemRow("i9", f"again {turn}"),
        )
        step = open_bundle(builder.build(channel.id).folder)
        whole = open_bundle(elsewhere(builder, tmp_path / str(turn)).build(channel.id).folder)
        assert_same(step, whole)
        delete(sqlite, channel, "i9")


def test_what_is_stored_for_other_machines_is_of_contents(
    sqlite: Database, channel: Channel, builder: Builder, backbone: Backbone, tmp_path: Path
) -> None:
    first = builder.build(channel.id)
    upsert(sqlite, channel, ItemRow("twin", ITEMS[0].text), ItemRow("new", "wholly new"))
    changed = builder.build(channel.id)
    other = elsewhere(builder, tmp_path / "other").build(channel.id, lambda *_: pytest.fail("encoded"))
    assert_same(open_bundle(other.folder), open_bundle(changed.folder))
    with sqlite.read() as s:
        row = s.query(Adapter).filter_by(channel_id=channel.id, version=2).one()
        data = vectors.load_vectors(s, channel.id, row.sha256, backbone.fingerprint)
        contents = {item.text.lower() for item in catalog.load_items(s, channel.id)}
    assert data is not None
    assert len(snapshot_from_bytes(data)) == len(contents)
    assert first.digest != changed.digest
