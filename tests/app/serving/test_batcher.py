"""The door to the model."""

import asyncio
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import pytest

from app.core.errors import TooBusy
from app.serving.batcher import MAX_BATCH, Batcher


@contextmanager
def running(answer: object, most: int = 1000, seconds: float = 30) -> Iterator[Batcher[int, int]]:
    batcher: Batcher[int, int] = Batcher(answer, most, seconds)  # type: ignore[arg-type]
    batcher.start()
    try:
        yield batcher
    finally:
        batcher.stop()


class Held:
    """Doubles numbers, but nothing before it is let go; keeps the batches that it saw."""

    def __init__(self) -> None:
        self.go, self.busy = threading.Event(), threading.Event()
        self.batches: list[list[int]] = []

    def __call__(self, queries: Sequence[int]) -> list[int]:
        self.batches.append(list(queries))
        self.busy.set()
        assert self.go.wait(10)
        return [2 * query for query in queries]


async def held_by(batcher: Batcher[int, int], held: Held) -> "asyncio.Future[int]":
    """One query that keeps the batcher busy."""
    first = batcher.ask("first", 0)
    assert await asyncio.to_thread(held.busy.wait, 10)
    return first


def test_each_gets_its_own_answer() -> None:
    async def ask(batcher: Batcher[int, int]) -> list[int]:
        return list(await asyncio.gather(*(batcher.ask(f"c{n % 7}", n) for n in range(500))))

    with running(lambda queries: [n * n for n in queries]) as batcher:
        assert asyncio.run(ask(batcher)) == [n * n for n in range(500)]
        assert (batcher.counters.answered, batcher.waiting) == (500, 0)
        assert batcher.counters.batches < 500  # they went together


def test_channels_take_turns() -> None:
    held = Held()

    async def ask(batcher: Batcher[int, int]) -> None:
        first = await held_by(batcher, held)
        hot = [batcher.ask("hot", n) for n in range(1, 200)]
        quiet = [batcher.ask(f"quiet{n}", -n) for n in range(1, 4)]
        held.go.set()
        await asyncio.gather(first, *hot, *quiet)

    with running(held) as batcher:
        asyncio.run(ask(batcher))
    assert held.batches[1][:4] == [1, -1, -2, -3]  # the quiet ones in the very next batch, in turn
    assert max(len(batch) for batch in held.batches) == MAX_BATCH
    assert [n for batch in held.batches for n in batch if n > 0] == list(range(1, 200))


def test_a_full_queue_refuses_first_the_channel_that_fills_it() -> None:
    held = Held()

    async def ask(batcher: Batcher[int, int]) -> None:
        waiting = [await held_by(batcher, held)]
        waiting += [batcher.ask("hot", n) for n in range(25)]
        with pytest.raises(TooBusy):
            batcher.ask("hot", 99)
        waiting += [batcher.ask(f"quiet{n}", n) for n in range(75)]
        with pytest.raises(TooBusy):
            batcher.ask("another", 99)
        held.go.set()
        await asyncio.gather(*waiting)
        assert await batcher.ask("hot", 21) == 42  # room again

    with running(held, most=100) as batcher:
        asyncio.run(ask(batcher))
        assert batcher.counters.refused == 2


def test_who_waits_too_long_is_told() -> None:
    held = Held()

    async def ask(batcher: Batcher[int, int]) -> None:
        first = await held_by(batcher, held)
        late = batcher.ask("a", 1)
        await asyncio.sleep(0.2)
        held.go.set()
        assert await first == 0
        with pytest.raises(TooBusy, match="too long"):
            await late

    with running(held, seconds=0.1) as batcher:
        asyncio.run(ask(batcher))
        assert batcher.counters.expired == 1
    assert held.batches == [[0]]  # no work for who has given up


def test_one_bad_query_fails_alone(caplog: pytest.LogCaptureFixture) -> None:
    async def ask(batcher: Batcher[int, int]) -> list[int | BaseException]:
        return await asyncio.gather(*(batcher.ask("a", n) for n in range(5)), return_exceptions=True)

    with running(lambda queries: [6 // (n - 3) for n in queries]) as batcher:
        found = asyncio.run(ask(batcher))
    assert [type(answer) for answer in found] == [int, int, int, ZeroDivisionError, int]
    assert found[4] == 6


def test_a_client_that_has_gone_disturbs_nobody() -> None:
    held = Held()

    async def ask(batcher: Batcher[int, int]) -> int:
        first = await held_by(batcher, held)
        batcher.ask("a", 1).cancel()
        last = batcher.ask("b", 2)
        held.go.set()
        await first
        return await last

    with running(held) as batcher:
        assert asyncio.run(ask(batcher)) == 4


def test_stopping_answers_what_waits() -> None:
    held = Held()

    async def ask(batcher: Batcher[int, int]) -> list[int]:
        waiting = [await held_by(batcher, held), *(batcher.ask("a", n) for n in range(100))]
        stopping = threading.Thread(target=batcher.stop)
        stopping.start()
        held.go.set()
        found = list(await asyncio.gather(*waiting))
        await asyncio.to_thread(stopping.join)
        return found

    batcher: Batcher[int, int] = Batcher(held, 1000, 30)
    batcher.start()
    assert asyncio.run(ask(batcher)) == [0, *(2 * n for n in range(100))]
