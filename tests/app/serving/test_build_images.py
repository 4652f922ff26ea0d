"""Bundles of image channels."""

import pytest

from app.core.errors import Unavailable
from app.core.images import image_info
from app.model.backbone import Backbone, Backbones
from app.serving.build import _contents, build, read_source
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


def test_items_that_share_an_image_are_encoded_once(
    sqlite: Database, image_backbone: Backbone, channel_id: str
) -> None:
    encoded: list[int] = []
    bundle = build(
        sqlite, Backbones(image_backbone), channel_id, progress=lambda done, _: encoded.append(done)
    )
    assert bundle.item_ids == ("a", "b", "c")  # d has no image
    assert bundle.of_item.tolist() == [0, 0, 1]
    assert encoded == [2]
    again = build(
        sqlite, Backbones(image_backbone), channel_id, progress=lambda done, _: encoded.append(done)
    )
    assert again.digest == bundle.digest
    assert encoded == [2]  # the stored vectors were found


def test_an_image_replaced_while_a_release_is_built_is_never_kept_under_the_old_name(
    sqlite: Database, image_backbone: Backbone, channel_id: str
) -> None:
    source = read_source(sqlite, channel_id, Backbones(image_backbone))
    assert _contents(sqlite, source, [0]) == [picture(1)]
    put(sqlite, channel_id, "a", 3)
    with pytest.raises(Unavailable, match="changed"):
        _contents(sqlite, source, [0])
    with sqlite.session() as s:
        images.delete_image(s, channel_id, "a")
    with pytest.raises(Unavailable, match="changed"):
        _contents(sqlite, source, [0])
    assert _contents(sqlite, source, [2]) == [picture(2)]
