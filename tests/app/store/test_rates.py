"""Requests a second, counted in a real Valkey."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import redis

from app.core.errors import OverRate
from app.store.quotas import Limits, TenantLimits
from app.store.rates import Rates


@asynccontextmanager
async def rates(url: str, rate: int, processes: int = 1) -> AsyncIterator[list[Rates]]:
    """The limiters of some processes."""
    limits = TenantLimits(Limits(requests_per_second=rate))
    made = [Rates(limits, url) for _ in range(processes)]
    try:
        yield made
    finally:
        for each in made:
            await each.close()


async def let_in(limiter: Rates, requests: int, tenant: str = "ten_1") -> int:
    """How many of so many requests at once are let in."""
    answers = await asyncio.gather(*(limiter.spend(tenant) for _ in range(requests)), return_exceptions=True)
    for refusal in answers:
        if refusal is not None:
            assert isinstance(refusal, OverRate)
            assert refusal.retry_after == 1
    return answers.count(None)


@pytest.mark.parametrize("rate", [1, 7, 20, 100, 1000])
def test_a_burst_is_let_in_up_to_the_rate(valkey_url: str, rate: int) -> None:
    async def run() -> None:
        async with rates(valkey_url, rate) as (limiter,):
            assert await let_in(limiter, 2 * rate) == rate
            assert await let_in(limiter, rate, "ten_2") == rate  # each tenant has its own
            assert await let_in(limiter, 1, "ten_2") == 0
            await asyncio.sleep(1.1)
            assert await let_in(limiter, 2 * rate) == rate

    asyncio.run(run())


def test_processes_share_a_rate(valkey_url: str) -> None:
    async def run() -> None:
        async with rates(valkey_url, 100, processes=3) as three:
            admitted = [await let_in(limiter, 60) for limiter in three]
            assert sum(admitted) == 100

    asyncio.run(run())


def test_a_steady_flood_gets_its_rate(valkey_url: str) -> None:
    async def run() -> None:
        async with rates(valkey_url, 200, processes=2) as both:
            admitted, end = 0, time.monotonic() + 3
            while time.monotonic() < end:
                for limiter in both:
                    admitted += await let_in(limiter, 10)
                await asyncio.sleep(0.005)
            assert 450 <= admitted <= 800 + 2 * 10  # three or four windows, and a chunk a process

    asyncio.run(run())


def test_most_requests_ask_nobody(valkey_url: str) -> None:
    with redis.Redis.from_url(valkey_url) as client:
        client.config_resetstat()

    async def run() -> None:
        async with rates(valkey_url, 1000) as (limiter,):
            for _ in range(400):
                await limiter.spend("ten_1")
            assert await let_in(limiter, 2000) == 600

    asyncio.run(run())
    with redis.Redis.from_url(valkey_url) as client:
        calls = client.info("commandstats")["cmdstat_evalsha"]["calls"]
    assert calls < 100


def test_who_has_no_limit_never_meets_redis() -> None:
    async def run() -> None:
        async with rates("redis://127.0.0.1:1", 0) as (limiter,):
            assert not limiter.limits("ten_1")
            assert await let_in(limiter, 1000) == 1000
            assert limiter._around.until == 0.0
        async with rates("redis://127.0.0.1:1", 5) as (limiter,):
            await limiter.spend(None)  # the platform's operator
            assert limiter._around.until == 0.0

    asyncio.run(run())


def test_without_redis_each_process_counts_for_itself() -> None:
    async def run() -> None:
        async with rates("redis://127.0.0.1:1", 40, processes=2) as both:
            for limiter in both:
                assert await let_in(limiter, 60) == 40

    asyncio.run(run())
