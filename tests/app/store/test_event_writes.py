"""Events of many requests in one transaction."""

import threading
from functools import partial

import pytest
from sqlalchemy import select

from app.core.attribution import new_recommendation_id, origin_of
from app.core.clock import now
from app.store import events, revisions
from app.store.catalog import ItemRow, upsert_items
from app.store.channels import counters, create_channel
from app.store.db import Database
from app.store.event_rows import EventRow, parse_events
from app.store.event_writes import Sent, Written, write_events
from app.store.tables import Channel, Click

NOW = 1_700_000_000_000


@pytest.fixture
def books(database: Database, channel: Channel) -> Channel:
    """The channel with the items a, b and c."""
    with database.session() as s:
        upsert_items(s, channel.id, [ItemRow(item_id, item_id) for item_id in "abc"])
    return channel


def event(index: int, user: str, item: str, at: int, event_id: str | None = None) -> EventRow:
    return EventRow(index, user, item, at, event_id)


def write(database: Database, *sent: Sent) -> list[Written]:
    with database.session() as s:
        return write_events(s, sent)


def outcome(written: Written) -> tuple[int, int, list[int]]:
    return written.accepted, written.duplicates, [each.index for each in written.rejected]


def history(database: Database, channel: Channel, user: str) -> list[str]:
    with database.read() as s:
        return events.history(s, channel.id, user)


def pending(database: Database, channel: Channel) -> int:
    with database.read() as s:
        return s.scalars(select(Channel.pending_events).where(Channel.id == channel.id)).one()


def test_nothing_is_stored_twice(database: Database, books: Channel) -> None:
    first = Sent(books.id, [event(0, "u", "a", 5, "e1"), event(1, "u", "b", 6, "e1"), event(2, "u", "a", 5)])
    again = Sent(books.id, [event(0, "v", "c", 7, "e1"), event(1, "u", "c", 7, "e2"), event(2, "u", "a", 5)])
    assert [outcome(each) for each in write(database, first, again)] == [(1, 2, []), (1, 2, [])]
    assert [outcome(each) for each in write(database, again, first)] == [(0, 3, []), (0, 3, [])]
    assert history(database, books, "u") == ["a", "c"]
    assert history(database, books, "v") == []
    assert pending(database, books) == 2


def test_time_orders_and_arrival_breaks_ties(database: Database, books: Channel) -> None:
    write(database, Sent(books.id, [event(0, "u", "c", 9), event(1, "u", "b", 9), event(2, "u", "a", 9)]))
    write(database, Sent(books.id, [event(0, "u", "a", 3), event(1, "u", "b", 12)]))
    assert history(database, books, "u") == ["a", "c", "b", "a", "b"]


def test_an_unknown_item_stops_nobody(database: Database, books: Channel) -> None:
    gone = Sent("chn_gone", [event(0, "u", "a", 1)])
    written = write(database, Sent(books.id, [event(4, "u", "x", 1), event(5, "u", "a", 1)]), gone)
    assert [outcome(each) for each in written] == [(1, 0, [4]), (0, 0, [0])]
    assert "not in the catalogue" in written[0].rejected[0].reason
    assert written[0].users == {"u"}
    assert written[1].users == set()


def test_an_event_id_counts_in_its_channel(database: Database, books: Channel) -> None:
    with database.session() as s:
        other = create_channel(s, books.tenant_id, "films", "", "bb-1")
        upsert_items(s, other.id, [ItemRow("a", "a")])
    written = write(
        database, *(Sent(channel.id, [event(0, "u", "a", 1, "e")]) for channel in (books, other, books))
    )
    assert [each.accepted for each in written] == [1, 1, 0]
    assert (pending(database, books), pending(database, other)) == (1, 1)


def test_a_click_is_stored_once_with_its_event(database: Database, books: Channel) -> None:
    recommendation = new_recommendation_id("challenger", 7)
    sent = {"user_id": "u", "timestamp": NOW, "recommendation_id": recommendation}
    rows, _ = parse_events([sent | {"item_id": "a"}, sent | {"item_id": "x"}, sent | {"item_id": "b"}], NOW)
    for accepted in (2, 0):
        assert write(database, Sent(books.id, rows))[0].accepted == accepted
    later, _ = parse_events([sent | {"item_id": "a", "timestamp": NOW + 5}], NOW)
    assert write(database, Sent(books.id, later))[0].accepted == 1  # met again, but the same click
    with database.read() as s:
        clicks = s.scalars(select(Click).order_by(Click.item_id)).all()
    assert [(c.item_id, c.version, c.variant, c.at) for c in clicks] == [
        (item_id, 7, "challenger", NOW) for item_id in "ab"
    ]
    assert {origin_of(c.recommendation_id) for c in clicks} == {origin_of(recommendation)}


def test_events_raise_no_revision_until_they_are_settled(database: Database, books: Channel) -> None:
    def now_at() -> tuple[int, int]:
        with database.read() as s:
            return counters(s)[books.id]

    before = now_at()
    write(database, Sent(books.id, [event(0, "u", "a", 1)]))
    assert now_at() == before
    with database.session() as s:
        assert revisions.is_settling_due(s, None)
        assert revisions.settle(s, None) == 1
        assert not revisions.is_settling_due(s, None)
        assert revisions.settle(s, None) == 0
    assert now_at() == (before[0] + 1, before[1] + 1)
    assert pending(database, books) == 0


def test_settling_waits_its_time(database: Database, books: Channel) -> None:
    with database.session() as s:
        write_events(s, [Sent(books.id, [event(0, "u", "a", 1)])])
        first = s.get_one(Channel, books.id)
        assert revisions.settle(s, now()) == 1  # never settled before: at once
        s.refresh(first)
        assert first.settled_at is not None
        write_events(s, [Sent(books.id, [event(0, "u", "b", 1)])])
        assert not revisions.is_settling_due(s, first.settled_at)
        assert revisions.settle(s, first.settled_at) == 0
        assert revisions.is_settling_due(s, now())


def test_the_same_events_from_many_writers_at_once(database: Database, books: Channel) -> None:
    """As many replicas that get one sender's retries; each in another order."""
    accepted: list[int] = []
    barrier = threading.Barrier(4)

    def send(turn: int) -> None:
        barrier.wait()
        for n in range(25):
            rows = [event(k, f"u{k % 3}", "abc"[k % 3], 100 * n + k, f"{n}-{k}") for k in range(6)]
            ordered = rows[turn:] + rows[:turn]
            sent = Sent(books.id, ordered)
            accepted.append(database.attempt(partial(write_events, requests=[sent]))[0].accepted)

    threads = [threading.Thread(target=send, args=(turn,)) for turn in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(accepted) == 100
    assert sum(accepted) == pending(database, books) == 150
    with database.read() as s:
        assert events.count_interactions(s, books.id) == 150


def test_two_writers_that_wait_for_each_other(database: Database, books: Channel) -> None:
    """The same event ids in opposite orders: one of them gives up and tries again."""
    barrier = threading.Barrier(2, timeout=20)
    accepted: list[int] = []

    def send(turn: int) -> None:
        for n in range(10):
            ids = [f"{n}-{k}" for k in range(900)][:: 1 if turn else -1]
            sent = Sent(books.id, [event(k, f"u{k:03d}", "abc"[turn], n, ids[k]) for k in range(900)])
            barrier.wait()
            accepted.append(database.attempt(partial(write_events, requests=[sent]))[0].accepted)

    threads = [threading.Thread(target=send, args=(turn,)) for turn in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(accepted) == 20
    assert sum(accepted) == 9000
