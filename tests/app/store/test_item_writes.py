"""Items written one at a time or a few at once."""

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from app.core.errors import Invalid, NotFound
from app.store import catalog, item_writes, revisions
from app.store.catalog import ItemRow
from app.store.db import Database
from app.store.tables import Channel


def revision(database: Database, channel: Channel) -> int:
    with database.read() as s:
        return revisions.items_revision(s, channel.id)


def stored(database: Database, channel: Channel) -> list[ItemRow]:
    with database.read() as s:
        return catalog.load_items(s, channel.id)


def test_put_twice_changes_nothing(database: Database, channel: Channel) -> None:
    sent, kept = ItemRow("a/b", "A", {"x": 1, "none": None, "": ""}), ItemRow("a/b", "A", {"x": 1})
    for item, outcome, after in (
        (sent, (kept, True, True), 1),
        (sent, (kept, False, False), 1),
        (ItemRow("a/b", "A"), (ItemRow("a/b", "A"), False, True), 2),
    ):
        with database.session() as s:
            assert item_writes.put_item(s, channel.id, item) == outcome
        assert revision(database, channel) == after
    with pytest.raises(Invalid, match="the text is empty"), database.session() as s:
        item_writes.put_item(s, channel.id, ItemRow("c", " "))


@pytest.mark.parametrize(
    ("text", "attributes", "expected"),
    [
        (None, {}, ItemRow("a", "A", {"x": 1, "y": {"z": 2}})),
        ("B", {}, ItemRow("a", "B", {"x": 1, "y": {"z": 2}})),
        (None, {"x": None, "unknown": None}, ItemRow("a", "A", {"y": {"z": 2}})),
        (None, {"y": {"w": 3}, "new": []}, ItemRow("a", "A", {"x": 1, "y": {"w": 3}, "new": []})),
    ],
)
def test_patch(
    database: Database, channel: Channel, text: str | None, attributes: dict[str, Any], expected: ItemRow
) -> None:
    first = ItemRow("a", "A", {"x": 1, "y": {"z": 2}})
    with database.session() as s:
        item_writes.put_item(s, channel.id, first)
    for changed in (expected != first, False):
        with database.session() as s:
            outcome = item_writes.patch_item(s, channel.id, "a", text, attributes)
            assert outcome == (expected, changed)
    assert stored(database, channel) == [expected]
    assert revision(database, channel) == 1 + (expected != first)


def test_patch_of_nothing_or_to_something_bad(database: Database, channel: Channel) -> None:
    with database.session() as s:
        item_writes.put_item(s, channel.id, ItemRow("a", "A", {"x": "y" * 60_000}))
        with pytest.raises(NotFound, match="'b'"):
            item_writes.patch_item(s, channel.id, "b", "B", {})
        with pytest.raises(Invalid, match="the text is empty"):
            item_writes.patch_item(s, channel.id, "a", "", {})
        with pytest.raises(Invalid, match="attributes are longer"):
            item_writes.patch_item(s, channel.id, "a", None, {"z": "y" * 60_000})
    assert revision(database, channel) == 1


def test_patches_at_once_are_both_kept(database: Database, channel: Channel) -> None:
    with database.session() as s:
        item_writes.put_item(s, channel.id, ItemRow("a", "A"))
    barrier = threading.Barrier(4)

    def patch(number: int) -> None:
        barrier.wait()
        with database.session() as s:
            item_writes.patch_item(s, channel.id, "a", None, {f"x{number}": number})

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(patch, range(4)))
    assert stored(database, channel)[0].attributes == {f"x{number}": number for number in range(4)}
    assert revision(database, channel) == 5


def test_several_land_whole_or_not_at_all(database: Database, channel: Channel) -> None:
    a, b = ItemRow("a", "A", {"x": 1}), ItemRow("b", "B")
    with database.session() as s:
        assert item_writes.put_items(s, channel.id, [a, b, a]) == (2, 0, 1)
    with database.session() as s:
        assert item_writes.put_items(s, channel.id, [b, ItemRow("a", "new"), ItemRow("c", "C")]) == (1, 1, 1)
    bad = [ItemRow("d", "D"), ItemRow(" e", "E"), ItemRow("d", "other"), ItemRow("f", "F", {"x": "\0"})]
    reason = r"3 of 4 items are bad.*body.items.1: the item_id ' e'"
    with pytest.raises(Invalid, match=reason) as caught, database.session() as s:
        item_writes.put_items(s, channel.id, bad)
    assert caught.value.extra["errors"] == [
        {"field": "body.items.1", "message": "the item_id ' e' begins or ends with white space"},
        {"field": "body.items.2", "message": "an item before it has the same id and other content"},
        {"field": "body.items.3", "message": "the attributes hold a NUL character"},
    ]
    with pytest.raises(Invalid) as caught, database.session() as s:
        item_writes.put_items(s, channel.id, [ItemRow("", "x")] * 60)
    assert len(caught.value.extra["errors"]) == 50
    assert stored(database, channel) == [ItemRow("a", "new"), b, ItemRow("c", "C")]
    assert revision(database, channel) == 2


def test_delete(database: Database, channel: Channel) -> None:
    with database.session() as s:
        item_writes.put_items(s, channel.id, [ItemRow("a", "A"), ItemRow("b", "B")])
        item_writes.delete_item(s, channel.id, "a")
        with pytest.raises(NotFound, match="'a'"):
            item_writes.delete_item(s, channel.id, "a")
    assert stored(database, channel) == [ItemRow("b", "B")]
    assert revision(database, channel) == 2
