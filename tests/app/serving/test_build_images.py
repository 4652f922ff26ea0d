"""Bundles of image channels."""

from pathlib import Path

import pytest

from app.core.errors import Unavailable
from app.core.images import image_info
from app.model.backbone import Backbone, Backbones
from app.serving.build import Builder
from app.serving.catalog import Catalog
from app.serving.folders import Folders
from app.serving.release import Bundle, open_bundle
from app.serving.source import read_contents, read_target
from app.store import channels, images, tenants
from app.store.catalog import ItemRow, upsert_items
from app.store.db import Database
from app.store.images import ImageRow
from tests.fakes import picture


@pytest.fixture
def channel_id(sqlite: Database, image_backbone: Backbone) -> str:
    """Items a and b share a picture, c has another, d has none."""
    with sqlite.session() as s:
        tenant = tenants.create_tenant(s, "acme")
        channel = channels.create_channel(s, tenant.id, "posters", "", image_backbone.fingerprint, "image")
        upsert_items(s, channel.id, [ItemRow(item_id, f"film {item_id}") for item_id in "abcd"])
    put(sqlite, channel.id, "a", 1)
    put(sqlite, channel.id, "b", 1)
    put(sqlite, channel.id, "c", 2)
    return channel.id


def put(db: Database, channel_id: str, item_id: str, seed: int) -> None:
    data = picture(seed)
    with db.session() as s:
        images.put_image(s, channel_id, ImageRow(item_id, image_info(data), data))


@pytest.fixture
def builder(sqlite: Database, image_backbone: Backbone, tmp_path: Path) -> Builder:
    return Builder(sqlite, Backbones(image_backbone), Folders(tmp_path / "releases"))


def test_items_that_share_an_image_are_encoded_once(builder: Builder, channel_id: str) -> None:
    encoded: list[int] = []
    release = builder.build(channel_id, lambda done, _: encoded.append(done))
    bundle = open_bundle(release.folder)
    assert ids_of(bundle) == ["a", "b", "c"]  # d has no image
    assert bundle.vectors[0].tolist() == bundle.vectors[1].tolist() != bundle.vectors[2].tolist()
    assert encoded == [2]
    assert bundle.needs


def test_images_come_and_go(sqlite: Database, builder: Builder, channel_id: str) -> None:
    builder.build(channel_id)
    put(sqlite, channel_id, "d", 2)  # the picture of c: known
    bundle = open_bundle(builder.build(channel_id, lambda *_: pytest.fail("encoded")).folder)
    assert ids_of(bundle) == ["a", "b", "c", "d"]
    put(sqlite, channel_id, "a", 3)
    encoded: list[int] = []
    bundle = open_bundle(builder.build(channel_id, lambda done, _: encoded.append(done)).folder)
    assert (ids_of(bundle), encoded) == (["b", "c", "d", "a"], [1])
    with sqlite.session() as s:
        images.delete_image(s, channel_id, "b")
    assert ids_of(open_bundle(builder.build(channel_id).folder)) == ["c", "d", "a"]


def ids_of(bundle: Bundle) -> list[str]:
    return [bundle.catalog.item_id(row) for row in range(bundle.catalog.size)]


def test_an_image_replaced_while_a_release_is_built_is_never_kept_under_the_old_name(
    sqlite: Database, builder: Builder, channel_id: str
) -> None:
    target, catalog = read_target(sqlite, channel_id), Catalog(builder.build(channel_id).folder)
    assert read_contents(sqlite, target, catalog, [0]) == [picture(1)]
    put(sqlite, channel_id, "a", 3)
    with pytest.raises(Unavailable, match="changed"):
        read_contents(sqlite, target, catalog, [0])
    with sqlite.session() as s:
        images.delete_image(s, channel_id, "a")
    with pytest.raises(Unavailable, match="changed"):
        read_contents(sqlite, target, catalog, [0])
    assert read_contents(sqlite, target, catalog, [2]) == [picture(2)]
