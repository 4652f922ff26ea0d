"""Many rows at once."""

from collections.abc import Iterator

import psycopg
import pytest
from sqlalchemy import select, text

from app.core.errors import Unavailable
from app.store import catalog, events
from app.store.catalog import ItemRow
from app.store.db import Database
from app.store.tables import Channel, Interaction


def met(count: int, user: str = "u") -> list[tuple[str, str, int]]:
    return [(user, f"i{n}", n) for n in range(count)]


def test_only_what_is_new_is_counted(database: Database, channel: Channel) -> None:
    with database.session() as s:
        assert events.append_interactions(s, channel.id, [*met(30), *met(20)]) == 30
        assert events.append_interactions(s, channel.id, [*met(40), *met(10_001, "v"), *met(5)]) == 10_011
        assert events.append_interactions(s, channel.id, []) == 0
        assert events.count_interactions(s, channel.id) == 10_041


def test_rows_keep_their_order(database: Database, channel: Channel) -> None:
    rows = [("u", f"i{n * 7919 % 12_007}", 5) for n in range(12_007)]
    with database.session() as s:
        events.append_interactions(s, channel.id, rows)
        query = (
            select(Interaction.item_id).where(Interaction.channel_id == channel.id).order_by(Interaction.seq)
        )
        assert s.scalars(query).all() == [item_id for _, item_id, _ in rows]


def test_any_text_arrives_as_it_was(database: Database, channel: Channel) -> None:
    """COPY has characters of its own."""
    odd = ["\\N", "\\.", "a\tb", "a\nb", "a\r\nb", "\\", '"', "'", ",", "{}", "ü", "\U0001f600", "\x01", "%s"]
    rows = [ItemRow(f"{text}{n}x", text, {text: [text]}) for n, text in enumerate(odd * 20)]
    with database.session() as s:
        catalog.upsert_items(s, channel.id, rows)
        assert catalog.load_items(s, channel.id) == rows
        events.append_interactions(s, channel.id, [(row.item_id, row.item_id, 1) for row in rows])
        assert events.sequences(s, channel.id) == {row.item_id: [row.item_id] for row in rows}


def test_many_items_are_replaced(database: Database, channel: Channel) -> None:
    old = [ItemRow(f"i{n}", "old", {"n": n}) for n in range(1000)]
    new = [ItemRow(f"i{n}", "new", {"n": n}) for n in range(0, 1500, 2)]
    with database.session() as s:
        catalog.upsert_items(s, channel.id, old)
        catalog.delete_items(s, channel.id, ["i0", "i1"])
        assert catalog.upsert_items(s, channel.id, new) == (251, 499, 0)
        assert catalog.upsert_items(s, channel.id, new) == (0, 0, 750)
        changes = catalog.changes_since(s, channel.id, 2)
        assert {row.item_id for row in changes.items} == {row.item_id for row in new}
        assert catalog.changes_since(s, channel.id, 1).deleted == ("i1",)
        assert catalog.get_items(s, channel.id, ["i2", "i3"]) == {"i2": new[1], "i3": old[3]}


def test_a_source_that_fails_leaves_nothing(database: Database, channel: Channel) -> None:
    def failing() -> Iterator[tuple[str, str, int]]:
        yield from met(20_000)
        raise RuntimeError("the file is gone")

    with pytest.raises(RuntimeError, match="the file is gone"), database.session() as s:
        events.append_interactions(s, channel.id, failing())
    with database.session() as s:
        assert events.count_interactions(s, channel.id) == 0
        assert events.append_interactions(s, channel.id, met(3)) == 3


def test_a_server_that_ends_is_unavailable(database: Database, channel: Channel) -> None:
    if database.is_sqlite:
        pytest.skip("SQLite has no server")

    def cut() -> Iterator[tuple[str, str, int]]:
        yield from met(100)
        with psycopg.connect(database.url.replace("+psycopg", ""), autocommit=True) as other:
            other.execute("SELECT pg_terminate_backend(%s)", (pid,))
        yield from met(500_000, "v")

    with pytest.raises(Unavailable), database.session() as s:
        pid = s.scalar(text("SELECT pg_backend_pid()"))
        events.append_interactions(s, channel.id, cut())
    with database.session() as s:
        assert events.count_interactions(s, channel.id) == 0
