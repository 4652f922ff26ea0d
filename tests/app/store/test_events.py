"""Interactions."""

from app.store import events, revisions
from app.store.channels import generations
from app.store.db import Database
from app.store.events import InteractionRow
from app.store.tables import Channel

ROWS = [
    InteractionRow("u1", "c", 3000),
    InteractionRow("u1", "a", 1000),
    InteractionRow("u2", "a", 5_000_000_000_00),
    InteractionRow("u1", "b", 3000),  # the same moment as c, but it came later
]


def test_append_is_idempotent_and_ordered(database: Database, channel: Channel) -> None:
    with database.session() as s:
        assert events.append_interactions(s, channel.id, [*ROWS, ROWS[0]]) == 4
        assert events.append_interactions(s, channel.id, ROWS) == 0
        assert events.append_interactions(s, channel.id, []) == 0
    with database.read() as s:
        assert events.history(s, channel.id, "u1") == ["a", "c", "b"]
        assert events.history(s, channel.id, "u1", limit=2) == ["c", "b"]
        assert events.history(s, channel.id, "nobody") == []
        assert events.sequences(s, channel.id) == {"u1": ["a", "c", "b"], "u2": ["a"]}
        assert events.popularity(s, channel.id) == {"a": 2, "b": 1, "c": 1}
        assert events.count_interactions(s, channel.id) == 4
        assert events.count_interactions(s, "another") == 0


def test_a_repeat_at_another_time_counts(database: Database, channel: Channel) -> None:
    with database.session() as s:
        events.append_interactions(s, channel.id, [InteractionRow("u", "a", 1), InteractionRow("u", "a", 2)])
        assert events.history(s, channel.id, "u") == ["a", "a"]


def test_only_new_interactions_raise_the_revision(database: Database, channel: Channel) -> None:
    for rows, after in ((ROWS[:2], 1), (ROWS[:2], 1), ([], 1), (ROWS, 2)):
        with database.session() as s:
            events.append_interactions(s, channel.id, rows)
        with database.read() as s:
            assert revisions.events_revision(s, channel.id) == after
            assert revisions.items_revision(s, channel.id) == 0
            assert generations(s) == {channel.id: after}
