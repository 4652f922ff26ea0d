"""Items are added under load: how long until a new one can be had."""

import asyncio
import secrets
import statistics

from app.core.errors import Unavailable
from tests.benchmarks.load.bench import SLICE_SECONDS, Options, histories, title, while_changing
from tests.benchmarks.load.client import open_loop
from tests.benchmarks.load.connection import ask, clock
from tests.benchmarks.load.progress import Steps
from tests.benchmarks.load.service import Service, warm
from tests.benchmarks.load.traffic import render

LIGHT, NEW_ITEMS = 20.0, 10
WAIT_SECONDS = 120.0


async def new_items(o: Options) -> None:
    """Seconds from the PUT of a new item to the first answer that has it, under a light load."""
    title(f"h. New items, under {LIGHT:g} requests/s")
    for items in (o.items,) if o.items else (10_000, 100_000):
        with o.serve(o.exactly(1, items)) as service:
            await _new_items(service)


async def _new_items(service: Service) -> None:
    requests = histories(service)[0]
    await warm(service, requests)
    items = service.population.spec.items
    status, body = await _put(service, f"new-{secrets.token_hex(6)}")
    if status in (404, 405):
        print(f"- {items:,} items: not measured, this version has no PUT of an item ({status}).")
        return
    assert status in (200, 201, 202), body
    seconds: list[float] = []
    load = await while_changing(
        lambda: open_loop(service.port, requests, LIGHT, SLICE_SECONDS),
        lambda: _add(service, seconds),
    )
    print(
        f"- {items:,} items: median {statistics.median(seconds):.3f} s, worst {max(seconds):.3f} s "
        f"of {NEW_ITEMS}; beside it p99 {load.percentile(99) * 1e3:.1f} ms, {load.failures()} failed"
    )


async def _add(service: Service, seconds: list[float]) -> None:
    for number in Steps(f"{NEW_ITEMS} new items", NEW_ITEMS):
        name, start = f"new-{secrets.token_hex(6)}", clock()
        status, body = await _put(service, name, number)
        assert status in (200, 201, 202), body
        seconds.append(await _first_answer(service, name, start))


async def _first_answer(service: Service, name: str, start: float) -> float:
    path = f"/v1/channels/{service.population.channels[0]}/items/{name}/similar"
    request = render("GET", path, service.population.reader)
    while clock() - start < WAIT_SECONDS:
        status, _ = await ask(service.port, request)
        if status == 200:
            return clock() - start
        await asyncio.sleep(0.005)
    raise Unavailable(f"Item {name} was never to be had.")


async def _put(service: Service, name: str, number: int = 0) -> tuple[int, bytes]:
    """A new item; its text is new too, so it must be encoded."""
    population = service.population
    body = {"text": f"a thing nobody has seen, {name}", "attributes": {"year": 2000 + number}}
    path = f"/v1/channels/{population.channels[0]}/items/{name}"
    return await ask(service.port, render("PUT", path, population.operator, body))
