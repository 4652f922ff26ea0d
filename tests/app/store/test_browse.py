"""Looking through a catalogue, on both databases."""

from app.store import browse, catalog
from app.store.catalog import ItemRow
from app.store.db import Database
from app.store.tables import Channel


def test_pages_and_searches(database: Database, channel: Channel) -> None:
    rows = [
        ItemRow("b-1", "Red 100% wool"),
        ItemRow("a_1", "blue_sky"),
        ItemRow("c", "a/b \\ c", {"x": "red"}),
    ]
    with database.session() as s:
        catalog.upsert_items(s, channel.id, rows)

        def ids(search: str = "", after: str = "", limit: int = 10) -> list[str]:
            return [item.item_id for item in browse.find_items(s, channel.id, search, after, limit)]

        assert ids() == ["a_1", "b-1", "c"]
        assert ids(limit=2) == ["a_1", "b-1"]
        assert ids(after="b-1") == ["c"]
        for search, found in {"RED": ["b-1"], "%": ["b-1"], "_": ["a_1"], "/": ["c"], "\\": ["c"]}.items():
            assert ids(search) == found
        assert ids("no such thing") == []
        assert browse.find_items(s, "another", "", "", 10) == []
        assert browse.find_items(s, channel.id, "wool", "", 10)[0] == browse.Shown(
            "b-1", "Red 100% wool", {}, False
        )
