"""What the scenarios share: options, homes, rounds in turn, tables."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

from tests.benchmarks.load.client import closed_loop, open_loop
from tests.benchmarks.load.connection import Request
from tests.benchmarks.load.population import Spec, populate
from tests.benchmarks.load.progress import say
from tests.benchmarks.load.result import HEADER, Result, median_rate, ratio, together
from tests.benchmarks.load.service import Service, serving
from tests.benchmarks.load.traffic import EMPTY, by_history, by_user, to_channel

Case = Callable[[], Awaitable[Result]]
Results = dict[str, list[Result]]
SLICE_SECONDS = 2.0  # of load, again and again beside changes until the last of them is done


@dataclass(frozen=True)
class Options:
    """What the command line says."""

    root: Path
    seconds: float
    rounds: int
    workers: int
    channels: int | None
    items: int | None
    adapter: Literal["user", "both"]
    swaps: int
    rate: float
    tier_bytes: int | None
    settings: Mapping[str, str]

    def spec(self, channels: int, items: int) -> Spec:
        """The scenario's own sizes, unless the command line has others."""
        return self.exactly(self.channels or channels, self.items or items)

    def exactly(self, channels: int, items: int) -> Spec:
        """These sizes."""
        return Spec(channels, items, adapter=self.adapter)

    @contextmanager
    def serve(self, spec: Spec, more: Mapping[str, str] | None = None) -> Iterator[Service]:
        """The service over a populated database."""
        with serving(populate(self.root, spec), self.workers, {**self.settings, **(more or {})}) as service:
            yield service


def histories(service: Service, length: int = 10) -> list[list[Request]]:
    """Requests by history, a list a channel."""
    population = service.population
    length = min(length, population.spec.items)
    return [
        to_channel(channel, population.reader, by_history(population.spec.items, length, seed=number))
        for number, channel in enumerate(population.channels)
    ]


def users(service: Service) -> list[list[Request]]:
    """Requests by user_id, a list a channel."""
    population = service.population
    return [
        to_channel(channel, population.reader, by_user(population.spec.users))
        for channel in population.channels
    ]


def closed(service: Service, requests: list[Request], connections: int, seconds: float) -> Case:
    """A closed loop to run."""
    return partial(closed_loop, service.port, requests, connections, seconds)


def opened(service: Service, requests: list[Request], rate: float, seconds: float) -> Case:
    """An open loop to run."""
    return partial(open_loop, service.port, requests, rate, seconds)


def empty(service: Service, connections: int, seconds: float) -> Case:
    """The empty handler of the same app."""
    return closed(service, [EMPTY], connections, seconds)


async def in_rounds(cases: Mapping[str, Case], rounds: int) -> Results:
    """Every case in turn, so many times: what else the machine does meets all of them alike."""
    results: Results = {name: [] for name in cases}
    for number in range(rounds):
        for name, case in cases.items():
            found = await case()
            results[name].append(found)
            say(f"round {number + 1} of {rounds}, {name}: {found.rate:,.0f}/s, {found.failures()} failed")
    return results


async def while_changing(load: Case, change: Callable[[], Awaitable[None]]) -> Result:
    """The load, again and again until the change is done."""
    changing = asyncio.ensure_future(change())
    results = []
    while not changing.done():
        results.append(await load())
    await changing
    return together(results)


def show(results: Results) -> None:
    """The table: the median round's requests/s, the percentiles over all rounds."""
    print(HEADER)
    for name, rounds in results.items():
        print(together(rounds).row(name, median_rate(rounds)), flush=True)


def compare(results: Results, name: str, other: str, goal: str = "") -> None:
    """One line: the ratio of two cases' requests/s."""
    found = ratio(results[name], results[other])
    print(f"- {name}: {found:.2f} of {other}" + (f" (goal {goal})" if goal else ""), flush=True)


def title(text: str) -> None:
    """Of a scenario."""
    print(f"\n### {text}\n", flush=True)


def floor(items: int) -> str:
    """What one answer takes at least, by count."""
    scanned, flops = items * 65 * 4, 2 * 20 * 100_000
    return (
        f"Floor by count, a request: {scanned / 1e6:.1f} MB of item vectors scanned (items x 65 x 4 bytes), "
        f"{items * 65 * 2 / 1e6:.1f} MFLOP for it, {flops / 1e6:.0f} MFLOP in the user encoder.\n"
    )
