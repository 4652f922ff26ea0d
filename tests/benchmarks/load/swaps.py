"""Releases are swapped under load: how long it takes, and that no answer is failed or mixed."""

import asyncio
import json
import math
import statistics
from collections.abc import Hashable
from functools import partial

from app.core.errors import Unavailable
from tests.benchmarks.load.bench import (
    SLICE_SECONDS,
    Case,
    Options,
    Results,
    histories,
    opened,
    show,
    title,
    while_changing,
)
from tests.benchmarks.load.client import open_loop
from tests.benchmarks.load.connection import Request, ask, clock
from tests.benchmarks.load.progress import say
from tests.benchmarks.load.result import Result, together
from tests.benchmarks.load.service import Service, warm
from tests.benchmarks.load.traffic import EMPTY, render

VERSIONS = (1, 2)
TOLERANCE = 1e-3  # of a score: how many requests were computed together may change its last digits
WAIT_SECONDS = 120.0

Items = list[tuple[str, float]]
"""The items of an answer and their scores."""
Expected = dict[tuple[int, Hashable], Items]
"""By version and request."""


async def swaps(o: Options) -> None:
    """Two versions promoted in turn while clients ask; every answer must be that of the release it names."""
    spec = o.exactly(1, o.items or 10_000)
    title(f"e. {o.swaps} swaps of a channel of {spec.items:,} items under {o.rate:g} requests/s")
    with o.serve(spec) as service:
        requests = histories(service)[0]
        await warm(service, requests)
        expected = await _expected(service, requests)

        def right(request: Request, body: bytes) -> bool:
            version, items = _parse(body)
            key = version, request.name
            return key in expected and _same(items, expected[key])

        def load(seconds: float) -> Case:
            return partial(open_loop, service.port, requests, o.rate, seconds, right)

        results: Results = {"empty handler": [], "without swaps": [], "with swaps": []}
        times: list[float] = []
        for number in range(1, o.rounds + 1):
            until = o.swaps * number // o.rounds
            change = partial(_swap_until, service, requests[0], until, times)
            results["with swaps"].append(await while_changing(load(SLICE_SECONDS), change))
            as_long = results["with swaps"][-1].seconds
            say(f"round {number} of {o.rounds}: {as_long:.0f} s without swaps")
            results["without swaps"].append(await load(as_long)())
            results["empty handler"].append(await opened(service, [EMPTY], o.rate, o.seconds)())
    show(results)
    _conclude(together(results["with swaps"]), together(results["without swaps"]), times)


def _conclude(swapped: Result, calm: Result, times: list[float]) -> None:
    answers, ratio = len(swapped.latencies), swapped.percentile(99) / calm.percentile(99)
    failed, wrong = swapped.failed, swapped.wrong
    print(f"- {answers:,} answers during {len(times)} swaps: {failed} failed, {wrong} mixed (goal 0, 0)")
    print(f"- p99 with swaps {ratio:.1f} x that without (goal <= 2)")
    middle, worst = statistics.median(times), max(times)
    print(f"- promote to first answer: median {middle:.3f} s, worst {worst:.3f} s")


async def _expected(service: Service, requests: list[Request]) -> Expected:
    """What each version answers to each request, asked in quiet; were they alike, no mix could be told."""
    found: Expected = {}
    for version in VERSIONS:
        await _promote(service, requests[0], version)
        for request in requests:
            found[version, request.name] = await _answer_of(service, request, version)
    assert all(not _same(found[1, r.name], found[2, r.name]) for r in requests)
    return found


async def _swap_until(service: Service, probe: Request, number: int, times: list[float]) -> None:
    """Swap until there are so many times."""
    while len(times) < number:
        times.append(await _promote(service, probe, VERSIONS[len(times) % 2]))


async def _promote(service: Service, probe: Request, version: int) -> float:
    """Promote and wait; seconds from the call to the first answer of that version."""
    population = service.population
    path = f"/v1/admin/channels/{population.channels[0]}/releases/promote"
    start = clock()
    status, body = await ask(service.port, render("POST", path, population.operator, {"version": version}))
    assert status == 200, body
    await _answer_of(service, probe, version)
    return clock() - start


async def _answer_of(service: Service, request: Request, version: int) -> Items:
    """Ask until this version answers: of several processes some may be behind."""
    start = clock()
    while clock() - start < WAIT_SECONDS:
        status, body = await ask(service.port, request)
        if status == 200 and (answer := _parse(body))[0] == version:
            return answer[1]
        await asyncio.sleep(0.005)
    raise Unavailable(f"Version {version} never answered; the last answer was {status}.")


def _parse(body: bytes) -> tuple[int, Items]:
    answer = json.loads(body)
    return answer["release"]["version"], [(item["item_id"], item["score"]) for item in answer["items"]]


def _same(found: Items, expected: Items) -> bool:
    """Whether the ids are the same and the scores nearly."""
    return len(found) == len(expected) and all(
        a == b and math.isclose(x, y, rel_tol=TOLERANCE, abs_tol=TOLERANCE)
        for (a, x), (b, y) in zip(found, expected, strict=True)
    )
