"""Stored vectors."""

from app.store import vectors
from app.store.db import Database
from app.store.tables import Channel


def test_save_and_replace(database: Database, channel: Channel) -> None:
    with database.session() as s:
        vectors.save_vectors(s, channel.id, "", "bb-1", b"zero")
        vectors.save_vectors(s, channel.id, "abc", "bb-1", b"old")
        vectors.save_vectors(s, channel.id, "abc", "bb-1", b"new")
    with database.read() as s:
        assert vectors.load_vectors(s, channel.id, "", "bb-1") == b"zero"
        assert vectors.load_vectors(s, channel.id, "abc", "bb-1") == b"new"
        assert vectors.load_vectors(s, channel.id, "abc", "bb-2") is None
