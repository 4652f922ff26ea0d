"""The catalogue."""

from app.store import catalog
from app.store.catalog import ItemRow
from app.store.db import Database
from app.store.tables import Channel


def test_upsert_counts_and_keeps_the_order(database: Database, channel: Channel) -> None:
    first = [ItemRow("b", "B", {"price": 1.5, "tags": ["x", None]}), ItemRow("a", "A")]
    with database.session() as s:
        assert catalog.upsert_items(s, channel.id, first) == (2, 0, 0)
        assert catalog.upsert_items(s, channel.id, first) == (0, 0, 2)
        changed = [ItemRow("c", "C"), ItemRow("b", "B", {"price": 2}), ItemRow("a", "A")]
        assert catalog.upsert_items(s, channel.id, changed) == (1, 1, 1)
    with database.read() as s:
        expected = [ItemRow("b", "B", {"price": 2}), ItemRow("a", "A"), ItemRow("c", "C")]
        assert catalog.load_items(s, channel.id) == expected
        assert catalog.get_items(s, channel.id, ["a", "zzz"]) == {"a": ItemRow("a", "A")}
        assert catalog.item_ids(s, channel.id) == {"a", "b", "c"}
        assert catalog.count_items(s, channel.id) == 3
        assert catalog.load_items(s, "another") == []
        assert catalog.count_items(s, "another") == 0


def test_of_two_rows_with_one_id_the_later_counts(database: Database, channel: Channel) -> None:
    with database.session() as s:
        assert catalog.upsert_items(s, channel.id, [ItemRow("a", "old"), ItemRow("a", "new")]) == (1, 0, 0)
        assert catalog.load_items(s, channel.id) == [ItemRow("a", "new")]


def test_many_items(database: Database, channel: Channel) -> None:
    rows = [ItemRow(f"i{number}", f"text {number} ✓") for number in range(1201)]
    with database.session() as s:
        assert catalog.upsert_items(s, channel.id, rows) == (1201, 0, 0)
        assert catalog.load_items(s, channel.id) == rows
        assert len(catalog.get_items(s, channel.id, [row.item_id for row in rows])) == 1201
