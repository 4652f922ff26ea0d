"""The catalogue."""

import random
import threading
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass, field

import pytest
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app.core.errors import NotFound, Unavailable
from app.store import catalog, channels, events, revisions
from app.store.catalog import Changes, ItemRow
from app.store.db import Database
from app.store.tables import Channel, DeletedItem, Item


@dataclass
class Follower:
    """A reader that keeps a copy of the catalogue and asks only for what changed."""

    db: Database
    channel_id: str
    revision: int = 0
    items: dict[str, ItemRow] = field(default_factory=dict)

    def look(self) -> Changes:
        with self.db.read() as s:
            changes = catalog.changes_since(s, self.channel_id, self.revision)
        assert not {item.item_id for item in changes.items} & set(changes.deleted)
        self.items |= {item.item_id: item for item in changes.items}
        for item_id in changes.deleted:
            self.items.pop(item_id, None)
        self.revision = changes.revision
        return changes

    def truth(self) -> dict[str, ItemRow]:
        with self.db.read() as s:
            return {item.item_id: item for item in catalog.load_items(s, self.channel_id)}


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


def test_one_is_not_true(database: Database, channel: Channel) -> None:
    with database.session() as s:
        catalog.upsert_items(s, channel.id, [ItemRow("a", "A", {"x": 1, "y": 2})])
        assert catalog.upsert_items(s, channel.id, [ItemRow("a", "A", {"y": 2, "x": 1})]) == (0, 0, 1)
        assert catalog.upsert_items(s, channel.id, [ItemRow("a", "A", {"x": True, "y": 2})]) == (0, 1, 0)
        assert catalog.load_items(s, channel.id)[0].attributes["x"] is True


def test_many_items(database: Database, channel: Channel) -> None:
    rows = [ItemRow(f"i{number}", f"text {number} ✓") for number in range(1201)]
    with database.session() as s:
        assert catalog.upsert_items(s, channel.id, rows) == (1201, 0, 0)
        assert catalog.load_items(s, channel.id) == rows
        assert len(catalog.get_items(s, channel.id, [row.item_id for row in rows])) == 1201
        ids = [row.item_id for row in rows]
        assert catalog.delete_items(s, channel.id, [*ids, "unknown"]) == 1201
        assert catalog.changes_since(s, channel.id, 1) == Changes(2, (), tuple(sorted(ids)))


def test_a_revision_rises_once_a_write_and_never_for_nothing(database: Database, channel: Channel) -> None:
    a, b = ItemRow("a", "A"), ItemRow("b", "B")
    with database.session() as s:
        assert catalog.upsert_items(s, channel.id, iter([a, b])) == (2, 0, 0)
        assert catalog.changes_since(s, channel.id, 0) == Changes(1, (a, b), ())
        assert catalog.changes_since(s, channel.id, 1) == Changes(1, (), ())
        catalog.upsert_items(s, channel.id, [a, b])
        catalog.upsert_items(s, channel.id, [])
        assert catalog.delete_items(s, channel.id, ["zzz"]) == 0
        assert revisions.items_revision(s, channel.id) == 1
        new = ItemRow("a", "new")
        catalog.upsert_items(s, channel.id, [new, b])
        assert catalog.changes_since(s, channel.id, 1) == Changes(2, (new,), ())
        assert catalog.changes_since(s, channel.id, -1).items == (new, b)
    with database.read() as s:
        assert channels.generations(s) == {channel.id: 2}
        assert revisions.events_revision(s, channel.id) == 0


def test_a_deleted_item_comes_back(database: Database, channel: Channel) -> None:
    a, b = ItemRow("a", "A"), ItemRow("b", "B")
    with database.session() as s:
        catalog.upsert_items(s, channel.id, [a, b])
        events.append_interactions(s, channel.id, [events.InteractionRow("u", "a", 1)])
        assert catalog.delete_items(s, channel.id, ["a", "a", "zzz"]) == 1
        assert catalog.delete_items(s, channel.id, ["a"]) == 0
        assert catalog.changes_since(s, channel.id, 1) == Changes(2, (), ("a",))
        assert events.history(s, channel.id, "u") == ["a"]
        assert catalog.upsert_items(s, channel.id, [a]) == (1, 0, 0)
        assert catalog.changes_since(s, channel.id, 1) == Changes(3, (a,), ())
        assert catalog.load_items(s, channel.id) == [b, a]
        assert catalog.delete_items(s, channel.id, ["a"]) == 1
        assert catalog.changes_since(s, channel.id, 3) == Changes(4, (), ("a",))


def test_channels_do_not_touch_each_other(database: Database, channel: Channel) -> None:
    with database.session() as s:
        other = channels.create_channel(s, channel.tenant_id, "other", "", "bb-1")
        for each in (channel, other):
            catalog.upsert_items(s, each.id, [ItemRow("a", "A")])
            catalog.delete_items(s, each.id, ["a"])
        catalog.upsert_items(s, channel.id, [ItemRow("a", "A")])
        assert catalog.delete_items(s, other.id, ["a"]) == 0
        assert catalog.changes_since(s, other.id, 0) == Changes(2, (), ("a",))
        assert catalog.changes_since(s, channel.id, 0) == Changes(3, (ItemRow("a", "A"),), ())
        with pytest.raises(NotFound, match="channel is gone"):
            catalog.changes_since(s, "gone", 0)
        with pytest.raises(NotFound, match="channel is gone"):
            catalog.upsert_items(s, "gone", [ItemRow("a", "A")])


@pytest.mark.parametrize("seed", [1, 2])
def test_a_reader_that_follows_has_exactly_the_catalogue(
    database: Database, channel: Channel, seed: int
) -> None:
    """200 writes at random against a dict; a reader that looks now and then is never off."""
    draw, model = random.Random(seed), dict[str, ItemRow]()
    follower = Follower(database, channel.id)
    for _ in range(200):
        ids = [f"i{draw.randrange(12)}" for _ in range(draw.randint(1, 4))]
        with database.session() as s:
            if draw.random() < 0.4:
                assert catalog.delete_items(s, channel.id, ids) == len(set(ids) & model.keys())
                for item_id in ids:
                    model.pop(item_id, None)
            else:
                rows = [ItemRow(i, f"text {draw.randrange(3)}", {"x": draw.randrange(2)}) for i in ids]
                catalog.upsert_items(s, channel.id, rows)
                model |= {row.item_id: row for row in rows}
        if draw.random() < 0.3:
            follower.look()
            assert follower.items == model
    follower.look()
    assert follower.items == follower.truth() == model
    with database.read() as s:
        assert s.scalar(select(func.count()).select_from(DeletedItem)) == 12 - len(model)
    assert follower.look() == Changes(follower.revision, (), ())


def test_writers_at_once_never_hide_a_change_from_a_reader(database: Database, channel: Channel) -> None:
    """Writers of one channel; a reader that follows meanwhile ends with what is stored."""
    follower, written = Follower(database, channel.id), threading.Event()
    # SQLite's writers ask again and again for their turn, and one that is unlucky asks for long.
    n_writers, n_writes = (2, 10) if database.is_sqlite else (4, 25)

    def write(seed: int) -> None:
        draw = random.Random(seed)
        for n in range(n_writes):
            ids = [f"i{draw.randrange(30)}" for _ in range(5)]
            with database.session() as s:
                if draw.random() < 0.3:
                    catalog.delete_items(s, channel.id, ids)
                else:
                    catalog.upsert_items(s, channel.id, [ItemRow(i, f"{seed}-{n}") for i in ids])
                if draw.random() < 0.2:  # a champion move and interactions beside it
                    channels.bump_generation(s, channel.id)

    def follow() -> None:
        while not written.is_set():
            before = follower.revision
            assert follower.look().revision >= before

    with ThreadPoolExecutor(5) as pool:
        reader = pool.submit(follow)
        writers = [pool.submit(write, seed) for seed in range(n_writers)]
        wait(writers)
        written.set()
        for done in (reader, *writers):
            done.result()
    follower.look()
    assert follower.items == follower.truth()
    with database.read() as s:
        stamped = select(func.max(Item.revision))
        assert (s.scalar(stamped) or 0) <= revisions.items_revision(s, channel.id)


def test_revisions_are_committed_in_their_order(database: Database, channel: Channel) -> None:
    """A second writer waits for the first one's commit, and a promote waits for nobody."""
    second_done = threading.Event()

    def second() -> None:
        with database.session() as s:
            catalog.upsert_items(s, channel.id, [ItemRow("b", "B")])
        second_done.set()

    with ThreadPoolExecutor(1) as pool, database.session() as s:
        follower = Follower(database, channel.id)
        revision = revisions.next_items(s, channel.id)
        waiting = pool.submit(second)
        if not database.is_sqlite:
            with database.session() as promoting:
                channels.bump_generation(promoting, channel.id)
        assert not second_done.wait(0.3)
        follower.look()
        _write_at(s, channel.id, revision)
        s.commit()
        waiting.result()
    follower.look()
    assert list(follower.items) == ["a", "b"]
    assert follower.revision == 2


def _write_at(s: Session, channel_id: str, revision: int) -> None:
    catalog._write(s, channel_id, [ItemRow("a", "A")], revision)
    revisions.raise_items(s, channel_id)


def test_a_writer_does_not_wait_for_ever(
    database: Database, channel: Channel, monkeypatch: pytest.MonkeyPatch
) -> None:
    if database.is_sqlite:
        pytest.skip("on SQLite the connection waits, 30 seconds")
    monkeypatch.setattr(revisions, "_TURN_SECONDS", 1)
    with database.session() as s:
        revisions.next_items(s, channel.id)
        with pytest.raises(Unavailable), database.session() as other:
            catalog.delete_items(other, channel.id, ["a"])
