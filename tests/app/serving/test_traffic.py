"""What is counted, what is compared in the shadow, and who keeps house."""

import asyncio
import logging
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, select

from app.core.config import Settings
from app.core.errors import Unavailable
from app.model.backbone import Backbone
from app.serving.batcher import Batcher
from app.serving.challengers import Challenger
from app.serving.engine import Engine
from app.serving.housekeeping import Housekeeper
from app.serving.rank import Query, Ranked
from app.serving.recommend import query_of
from app.serving.release import Bundle
from app.serving.shadow import QUEUE, SHORT, Shadow, compare
from app.serving.traffic import Traffic
from app.store import online, registry
from app.store.db import Database
from app.store.online import Comparison, Rate
from app.store.quotas import Limits, TenantLimits
from app.store.tables import Channel, Duty, Impressions
from app.store.wake import Wake
from tests.app.serving.conftest import add_adapter
from tests.app.serving.test_engine import refresh
from tests.fakes import adapter_bytes


def rates(db: Database, channel: Channel) -> dict[tuple[int, str], Rate]:
    with db.read() as s:
        return online.rates(s, channel.id, channel.created_at)


def test_counts_are_written_while_it_runs_and_at_the_stop(sqlite: Database, channel: Channel) -> None:
    traffic = Traffic(sqlite, seconds=0.1)
    traffic.start()

    def count() -> None:
        for _ in range(500):
            traffic.answered(channel.id, 1, "champion")

    threads = [threading.Thread(target=count) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    end = time.monotonic() + 10
    while rates(sqlite, channel).get((1, "champion")) != Rate(2000, 0):
        assert time.monotonic() < end
        time.sleep(0.05)
    traffic.answered(channel.id, 2, "challenger")
    traffic.stop()
    assert rates(sqlite, channel) == {(1, "champion"): Rate(2000, 0), (2, "challenger"): Rate(1, 0)}


@contextmanager
def away(database: Database, folder: Path) -> Iterator[None]:
    """The database of this folder cannot be opened meanwhile."""
    elsewhere = folder / "elsewhere"
    database.dispose()
    files = [path for path in folder.iterdir() if path.name.startswith("serving.db")]
    elsewhere.mkdir()
    for path in files:
        path.rename(elsewhere / path.name)
    (folder / "serving.db").mkdir()
    yield
    (folder / "serving.db").rmdir()
    for path in files:
        (elsewhere / path.name).rename(path)


def test_nothing_is_lost_while_the_database_is_away(
    sqlite: Database, channel: Channel, tmp_path: Path
) -> None:
    traffic = Traffic(sqlite)
    traffic.answered(channel.id, 1, "champion")
    traffic.compared(channel.id, 2, 0.5, True)
    with away(sqlite, tmp_path), pytest.raises(Unavailable):
        traffic.flush()
    traffic.answered(channel.id, 1, "champion")
    traffic.flush()
    traffic.flush()
    assert rates(sqlite, channel) == {(1, "champion"): Rate(2, 0)}
    with sqlite.read() as s:
        assert online.comparison(s, channel.id, 2, channel.created_at) == Comparison(1, 0.5, 1.0)
        assert s.scalar(select(func.count()).select_from(Impressions)) in (1, 2)  # a minute may have passed


def test_one_line_a_minute_and_channel(
    sqlite: Database, channel: Channel, caplog: pytest.LogCaptureFixture
) -> None:
    traffic = Traffic(sqlite)
    traffic.start()
    for overlap, same in ((1.0, True), (0.5, False)):
        traffic.compared(channel.id, 7, overlap, same)
    with caplog.at_level(logging.INFO, "app.serving.traffic"):
        traffic.stop()
    lines: list[Any] = [r for r in caplog.records if r.message == "shadow answers compared"]
    sums = [(r.channel, r.version, r.queries, r.overlap, r.same_first) for r in lines]
    assert sums in (
        [(channel.id, 7, 2, 0.75, 0.5)],
        [(channel.id, 7, 1, 1.0, 1.0), (channel.id, 7, 1, 0.5, 0.0)],  # a minute has passed
    )


@pytest.mark.parametrize(
    ("given", "other", "expected"),
    [
        (["a", "b"], ["a", "b"], (1.0, True)),
        (["a", "b"], ["b", "a"], (1.0, False)),
        (["a", "b", "c", "d"], ["a", "x", "y", "d"], (0.5, True)),
        (["a"], [], (0.0, False)),
        ([], [], (1.0, True)),
        ([], ["a"], (0.0, False)),
    ],
)
def test_two_lists_compared(given: list[str], other: list[str], expected: tuple[float, bool]) -> None:
    assert compare(given, other) == expected


class Model:
    """Answers i0 to everything, when it is let; fails on demand."""

    def __init__(self) -> None:
        self.go, self.broken = threading.Event(), False

    def __call__(self, queries: Sequence[Query]) -> list[Ranked]:
        assert self.go.wait(10)
        if self.broken:
            raise RuntimeError("broken")
        return [[(0, 1.0)] for _ in queries]


def test_the_shadow_stays_behind_the_answers(
    engine: Engine, sqlite: Database, channel: Channel, caplog: pytest.LogCaptureFixture
) -> None:
    refresh(engine)
    release, model, traffic = engine.release(channel.id), Model(), Traffic(sqlite)
    batcher: Batcher[Query, Ranked] = Batcher(model, 1000, 30)
    engine.batchers["text"] = batcher
    batcher.start()
    shadow = Shadow(engine, traffic)
    bundle = engine.open(release)

    def ask(of: Bundle) -> Query:
        return query_of(of, ["i1"], 3)

    def offer(variant: str = "champion") -> None:
        shadow.offer(channel.id, variant, (bundle, [(0, 1.0), (1, 0.5)]), ask)  # type: ignore[arg-type]

    async def settled(count: int) -> None:
        while sum((shadow.counters.compared, shadow.counters.dropped, shadow.counters.failed)) < count:
            await asyncio.sleep(0.01)

    async def play() -> None:
        offer()
        assert not shadow._running  # no challenger
        engine.challengers.live[channel.id] = Challenger(release, 0.5, False)
        offer()
        assert not shadow._running  # none in the shadow
        engine.challengers.live[channel.id] = Challenger(release, 0.5, True)
        offer("challenger")
        assert not shadow._running  # it has answered itself
        mine = [batcher.ask(channel.id, ask(bundle))]
        offer()
        await asyncio.sleep(0.1)
        assert set(batcher._queues) <= {QUEUE, channel.id}
        assert len(batcher._queues.get(channel.id, ())) <= 1  # no share of the channel's is used up
        mine += [batcher.ask(channel.id, ask(bundle)) for _ in range(SHORT)]
        offer()
        assert shadow.counters.dropped == 1  # others wait
        model.go.set()
        await asyncio.gather(*mine)
        await settled(2)
        model.broken = True
        offer()
        await settled(3)
        await shadow.stop()

    asyncio.run(play())
    batcher.stop()
    assert (shadow.counters.compared, shadow.counters.dropped, shadow.counters.failed) == (1, 1, 1)
    traffic.flush()
    with sqlite.read() as s:
        found = online.comparison(s, channel.id, release.version, channel.created_at)
    assert found == Comparison(1, 0.5, 1.0)
    assert "a shadow answer failed" in caplog.text


def housekeeper(db: Database, home: Path, keep_versions: int = 50) -> Housekeeper:
    settings = Settings(home=home, keep_versions=keep_versions)
    wake, limits = Wake("redis://127.0.0.1:1/0"), TenantLimits(Limits())
    return Housekeeper(db, wake, settings, limits, turn_seconds=0.1, lease_seconds=1.5)


def owner(db: Database) -> str | None:
    with db.read() as s:
        return s.scalar(select(Duty.owner))


def test_another_process_takes_over(database: Database, tmp_path: Path) -> None:
    first, second = housekeeper(database, tmp_path), housekeeper(database, tmp_path)
    assert first.turn()  # and then it is killed
    assert not second.turn()
    second.start()
    try:
        end = time.monotonic() + 20
        while owner(database) != second.owner:
            assert time.monotonic() < end
            time.sleep(0.05)
        assert not first.turn()
    finally:
        second.stop()
    assert owner(database) is None  # given back
    assert first.turn()


def test_it_waits_for_a_database_that_is_away(sqlite: Database, tmp_path: Path) -> None:
    keeper = housekeeper(sqlite, tmp_path)
    with away(sqlite, tmp_path):
        with pytest.raises(Unavailable):
            keeper.turn()
        keeper.start()
        time.sleep(0.5)  # some turns in vain
    try:
        end = time.monotonic() + 20
        while owner(sqlite) != keeper.owner:
            assert time.monotonic() < end
            time.sleep(0.05)
    finally:
        keeper.stop()


def test_old_versions_go_by_themselves(
    sqlite: Database, channel: Channel, backbone: Backbone, tmp_path: Path
) -> None:
    for seed in range(4):
        add_adapter(sqlite, channel, backbone, adapter_bytes(backbone, seed))
    keeper = housekeeper(sqlite, tmp_path, keep_versions=1)
    assert keeper.turn()
    with sqlite.read() as s:  # the champion, and what a rollback returns to
        assert [adapter.version for adapter in registry.list_adapters(s, channel.id)] == [4, 3]


def test_a_task_that_fails_does_not_stop_the_others(
    sqlite: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    keeper, done = housekeeper(sqlite, tmp_path), []

    def broken() -> None:
        raise RuntimeError("broken")

    monkeypatch.setattr(keeper, "_tasks", [(broken, 0), (lambda: done.append(1), 3600)])
    assert keeper.turn() and keeper.turn()
    assert done == [1]
    assert caplog.text.count("housekeeping: broken failed") == 2
