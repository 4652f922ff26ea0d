"""Scenarios in an open loop: how long an answer takes, whatever the others ask."""

import asyncio
from functools import partial

from tests.benchmarks.load.bench import (
    Case,
    Options,
    Results,
    floor,
    histories,
    in_rounds,
    opened,
    show,
    title,
)
from tests.benchmarks.load.client import closed_loop, open_loop
from tests.benchmarks.load.connection import Request
from tests.benchmarks.load.result import HEADER, Result, median_rate, together
from tests.benchmarks.load.service import Service, warm
from tests.benchmarks.load.traffic import EMPTY

RATES = (100, 500, 1_000, 2_000, 4_000, 8_000)
FLOODS = (64, 256)
QUIET, QUIET_RATE = 9, 5.0


async def offered(o: Options) -> None:
    """Latency at ever higher rates, until the service no longer keeps up."""
    spec = o.exactly(1, o.items or 100_000)
    title(f"c. One channel of {spec.items:,} items, open loop, latency from the scheduled arrival")
    print(floor(spec.items))
    print(HEADER)
    with o.serve(spec) as service:
        requests = histories(service)[0]
        await warm(service, requests)
        for rate in RATES:
            cases = {
                f"empty handler, {rate:,}/s offered": opened(service, [EMPTY], rate, o.seconds),
                f"by history, {rate:,}/s offered": opened(service, requests, rate, o.seconds),
            }
            results = await in_rounds(cases, o.rounds)
            for name, rounds in results.items():
                print(together(rounds).row(name, median_rate(rounds)), flush=True)
            if (broken := _breaks(together(results[name]), rate)) is not None:
                print(f"\n{broken} at {rate:,}/s: no higher rate was offered. Goal at 500/s: p90 <= 50 ms.")
                break


def _breaks(result: Result, rate: float) -> str | None:
    """Why the service does not keep up with this rate, if so."""
    if result.failed:
        return f"{result.failures()} failed"
    if result.rate < 0.9 * rate:
        return f"Only {result.rate:,.0f}/s were answered"
    return "p90 passed a second" if result.percentile(90) > 1 else None


async def flood(o: Options) -> None:
    """One channel is flooded; what nine quiet ones at 5 requests/s each see of it."""
    spec = o.exactly(1 + QUIET, o.items or 10_000)
    title(f"f. One channel flooded, {QUIET} quiet ones at {QUIET_RATE:g} requests/s each")
    with o.serve(spec) as service:
        hot, *quiet = histories(service)
        await warm(service, hot + [requests[0] for requests in quiet])
        floods: Results = {f"{n} connections flooding": [] for n in FLOODS}
        cases: dict[str, Case] = {
            "empty handler": opened(service, [EMPTY], QUIET * QUIET_RATE, o.seconds),
            "quiet, no flood": partial(_quiet, service, quiet, o.seconds),
        }
        for (name, seen), n in zip(floods.items(), FLOODS, strict=True):
            cases[f"quiet, {name}"] = partial(_flooded, service, hot, quiet, n, o.seconds, seen)
        results = await in_rounds(cases, o.rounds)
    show(results)
    print()
    show(floods)
    calm = together(results["quiet, no flood"]).percentile(99)
    for name, rounds in results.items():
        if "flooding" in name:
            print(f"- {name}: p99 {together(rounds).percentile(99) / calm:.1f} x that without")
    for name, rounds in floods.items():
        print(f"- {name}: {together(rounds).errors[429]} answers 429 to the hot channel")


async def _quiet(service: Service, quiet: list[list[Request]], seconds: float) -> Result:
    loads = (open_loop(service.port, requests, QUIET_RATE, seconds) for requests in quiet)
    found = await asyncio.gather(*loads)
    whole = together(found)
    # Side by side, not one after another.
    whole.seconds = max(result.seconds for result in found)
    whole.cpu_seconds = max(result.cpu_seconds for result in found)
    return whole


async def _flooded(
    service: Service,
    hot: list[Request],
    quiet: list[list[Request]],
    connections: int,
    seconds: float,
    seen: list[Result],
) -> Result:
    """The quiet channels' result; what the flood itself saw is appended to `seen`."""
    running = asyncio.create_task(closed_loop(service.port, hot, connections, seconds + 0.5))
    await asyncio.sleep(0.5)  # the flood stands when the quiet ones begin
    result = await _quiet(service, quiet, seconds)
    seen.append(await running)
    return result
