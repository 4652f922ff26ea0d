"""The images of a channel's items."""

from collections.abc import Callable

import pytest
from sqlalchemy.orm import Session
from sqlalchemy.orm.exc import DetachedInstanceError

from app.core.errors import Invalid, NotFound
from app.core.images import image_info
from app.store import catalog, images, revisions
from app.store.catalog import ItemRow
from app.store.channels import generations
from app.store.db import Database
from app.store.images import ImageRow
from app.store.tables import Channel
from tests.pictures import encoded, noise


def row(item_id: str, seed: int = 1) -> ImageRow:
    data = encoded(noise(seed), "PNG")
    return ImageRow(item_id, image_info(data), data)


def generation(database: Database, channel: Channel) -> int:
    with database.read() as s:
        return generations(s)[channel.id]


def test_upsert_counts_and_changes_nothing_twice(database: Database, posters: Channel) -> None:
    first = [row("a", 1), row("d/1", 2)]
    with database.session() as s:
        assert images.upsert_images(s, posters.id, []) == (0, 0, 0)
        assert images.upsert_images(s, posters.id, first) == (2, 0, 0)
        assert images.upsert_images(s, posters.id, first) == (0, 0, 2)
        assert images.upsert_images(s, posters.id, [row("a", 3), row("d/1", 2), row("b", 1)]) == (1, 1, 1)
    with database.read() as s:
        expected = {"a": row("a", 3), "b": row("b", 1), "d/1": row("d/1", 2)}
        refs = {item_id: each.info.sha256 for item_id, each in expected.items()}
        assert images.image_refs(s, posters.id) == refs
        assert images.image_refs(s, posters.id, ["b", "c"]) == {"b": refs["b"]}
        assert images.load_images(s, posters.id, ["a", "c", "d/1"]) == {
            "a": expected["a"].data,
            "d/1": expected["d/1"].data,
        }
        assert images.count_images(s, posters.id) == 3
        assert images.image_refs(s, "another") == {}
        assert images.load_images(s, "another", ["a"]) == {}
        assert images.count_images(s, "another") == 0


def test_many_images(database: Database, posters: Channel) -> None:
    ids = [f"i{number}" for number in range(1201)]
    image = row("")
    with database.session() as s:
        catalog.upsert_items(s, posters.id, [ItemRow(item_id, "x") for item_id in ids])
        rows = [ImageRow(item_id, image.info, image.data) for item_id in ids]
        assert images.upsert_images(s, posters.id, rows) == (1201, 0, 0)
        assert images.load_images(s, posters.id, ids) == dict.fromkeys(ids, image.data)
        assert images.image_refs(s, posters.id, ids) == dict.fromkeys(ids, image.info.sha256)


def test_put_raises_the_generation_only_for_a_change(database: Database, posters: Channel) -> None:
    before = generation(database, posters)
    for seed, outcome, risen in ((1, (True, True), 1), (1, (False, False), 1), (2, (False, True), 2)):
        with database.session() as s:
            assert images.put_image(s, posters.id, row("a", seed)) == outcome
        assert generation(database, posters) == before + risen


def test_an_image_counts_as_a_change_of_its_item(database: Database, posters: Channel) -> None:
    """Set, set again, replaced, deleted: what a reader of the catalogue sees of each."""

    def changed(write: Callable[[Session], object]) -> list[str]:
        with database.read() as s:
            before = revisions.items_revision(s, posters.id)
        with database.session() as s:
            write(s)
        with database.read() as s:
            return [item.item_id for item in catalog.changes_since(s, posters.id, before).items]

    assert changed(lambda s: images.put_image(s, posters.id, row("b"))) == ["b"]
    assert changed(lambda s: images.put_image(s, posters.id, row("b"))) == []
    several = [row("d/1"), row("b", 2), row("a")]
    assert changed(lambda s: images.upsert_images(s, posters.id, several)) == ["a", "b", "d/1"]
    assert changed(lambda s: images.upsert_images(s, posters.id, several)) == []
    assert changed(lambda s: images.delete_image(s, posters.id, "b")) == ["b"]


def test_get_and_delete(database: Database, posters: Channel) -> None:
    with database.session() as s:
        images.put_image(s, posters.id, row("a"))
    before = generation(database, posters)
    with database.read() as s:
        found = images.get_image(s, posters.id, "a")
        assert (found.format, found.width, found.height) == ("png", 32, 16)
        assert found.sha256 == row("a").info.sha256
        assert images.get_image(s, posters.id, "a", with_data=True).data == row("a").data
        with pytest.raises(NotFound, match="'b'"):
            images.get_image(s, posters.id, "b")
    with database.session() as s:
        images.delete_image(s, posters.id, "a")
    assert generation(database, posters) == before + 1
    with database.session() as s, pytest.raises(NotFound, match="'a'"):
        images.delete_image(s, posters.id, "a")
    assert generation(database, posters) == before + 1


def test_bytes_are_not_loaded_unasked(database: Database, posters: Channel) -> None:
    with database.session() as s:
        images.put_image(s, posters.id, row("a"))
    with database.read() as s:
        found = images.get_image(s, posters.id, "a")
    with pytest.raises(DetachedInstanceError, match="not bound to a Session"):
        _ = found.data


def test_an_image_needs_an_image_channel_and_its_item(
    database: Database, channel: Channel, posters: Channel
) -> None:
    with database.session() as s:
        catalog.upsert_items(s, channel.id, [ItemRow("a", "A")])
        with pytest.raises(Invalid, match="modality 'image'"):
            images.put_image(s, channel.id, row("a"))
        with pytest.raises(NotFound, match="Import it first"):
            images.put_image(s, posters.id, row("zzz"))
    with pytest.raises(NotFound, match="'zzz'"), database.session() as s:
        images.upsert_images(s, posters.id, [row("a"), row("zzz")])
    with database.read() as s:
        assert images.image_refs(s, posters.id) == {}


def test_images_go_with_their_items(database: Database, posters: Channel) -> None:
    with database.session() as s:
        images.upsert_images(s, posters.id, [row("a"), row("b")])
        catalog.delete_items(s, posters.id, ["a"])
        assert set(images.image_refs(s, posters.id)) == {"b"}


def test_importing_an_item_again_keeps_its_image(database: Database, posters: Channel) -> None:
    with database.session() as s:
        images.upsert_images(s, posters.id, [row("a")])
        assert catalog.upsert_items(s, posters.id, [ItemRow("a", "another title")]) == (0, 1, 0)
        assert set(images.image_refs(s, posters.id)) == {"a"}
