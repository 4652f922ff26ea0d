"""Scenarios in a closed loop: how many requests a second, and what they depend on."""

import torch

from app.model.adapters import attach, extract
from app.model.backbone import load_backbone
from app.model.bank import Bank
from app.model.bank_slots import AdapterWeights
from app.model.methods import AdapterConfig
from tests.benchmarks.load.bench import (
    Options,
    Results,
    closed,
    compare,
    empty,
    floor,
    histories,
    in_rounds,
    show,
    title,
    users,
)
from tests.benchmarks.load.population import BACKBONE, Spec
from tests.benchmarks.load.result import median_rate, together
from tests.benchmarks.load.service import Service, memory, warm
from tests.benchmarks.load.traffic import mixed

CONNECTIONS = 16
TIER = "TRANSREC_DEVICE_ADAPTER_BYTES"
GROWTH_CHANNELS, GROWTH_ITEMS, GROWTH_HISTORY = (1, 10, 100, 1_000), (1_000, 10_000, 100_000), (1, 5, 10, 20)


async def one_channel(o: Options) -> None:
    """One channel beside the empty handler, by history and by user_id."""
    spec = o.exactly(1, o.items or 10_000)
    title(f"a. One channel of {spec.items:,} items, closed loop")
    print(floor(spec.items))
    with o.serve(spec) as service:
        by_history, by_user = histories(service)[0], users(service)[0]
        await warm(service, by_history + by_user)
        cases = {}
        for n in (16, 64):
            cases[f"empty handler, {n} connections"] = empty(service, n, o.seconds)
            cases[f"by history, {n} connections"] = closed(service, by_history, n, o.seconds)
            cases[f"by user_id, {n} connections"] = closed(service, by_user, n, o.seconds)
        results = await in_rounds(cases, o.rounds)
    show(results)
    for n in (16, 64):
        for kind in ("by history", "by user_id"):
            compare(results, f"{kind}, {n} connections", f"empty handler, {n} connections", ">= 0.5")


async def many_channels(o: Options) -> None:
    """Requests over many channels beside requests to one of them; what the processes hold in memory."""
    spec = o.spec(1_000, 10_000)
    title(f"b. {spec.channels:,} channels x {spec.items:,} items, closed loop of {CONNECTIONS} connections")
    print(floor(spec.items))
    with o.serve(spec) as service:
        each = histories(service)
        await warm(service, [requests[0] for requests in each])
        loads = {
            "one channel": each[0],
            "uniform over all": mixed(each),
            "Zipf(1.0) over all": mixed(each, zipf=1.0),
        }
        cases = {"empty handler": empty(service, CONNECTIONS, o.seconds)}
        cases |= {name: closed(service, r, CONNECTIONS, o.seconds) for name, r in loads.items()}
        results = await in_rounds(cases, o.rounds)
        held = memory(service.pid)
    show(results)
    for name in ("uniform over all", "Zipf(1.0) over all"):
        compare(results, name, "one channel", ">= 0.9")
        compare(results, name, "empty handler")
    print(f"- memory after it, {held} (goal < 8 GB)")


async def tiers(o: Options) -> None:
    """Zipf over four times as many adapters as the device tier holds, beside all of them resident."""
    spec = o.spec(64, 1_000)
    resident = max(1, spec.channels // 4)
    title(f"d. {spec.channels:,} channels, a device tier for {resident:,} adapters, Zipf(1.0)")
    slot = slot_bytes(spec)
    budget = o.tier_bytes or resident * slot
    print(f"An adapter takes {slot:,} bytes on the device, the tier has {budget:,}.\n")
    with o.serve(spec) as whole, o.serve(spec, {TIER: str(budget)}) as small:
        results = await _side_by_side(o, whole, small)
    show(results)
    compare(results, "small tier", "all resident", ">= 0.7")
    compare(results, "all resident", "empty handler")


def slot_bytes(spec: Spec) -> int:
    """What one of the population's adapters takes on the device."""
    model, config = load_backbone(BACKBONE).model, AdapterConfig(encoders=spec.adapter)
    bank = Bank(model, "user", 2**30)
    one = AdapterWeights("one", config, extract(attach(model, config)))
    length = model.config.length
    bank.users([one], torch.zeros(1, length, model.config.dim), torch.ones(1, length, dtype=torch.bool))
    return bank.stats.resident_bytes


async def _side_by_side(o: Options, whole: Service, small: Service) -> Results:
    """Both services stand, one of them idle while the other is measured."""
    cases = {"empty handler": empty(whole, CONNECTIONS, o.seconds)}
    for name, service in (("all resident", whole), ("small tier", small)):
        each = histories(service)
        await warm(service, [requests[0] for requests in each])
        cases[name] = closed(service, mixed(each, zipf=1.0), CONNECTIONS, o.seconds)
    return await in_rounds(cases, o.rounds)


async def growth(o: Options) -> None:
    """Requests/s and latency by the number of channels, of items, and by the length of the history."""
    title(f"g. Growth, closed loop of {CONNECTIONS} connections")
    print("| channels | items a channel | history | requests/s | of empty | p50 ms | p99 ms | failed |")
    print("|---|---|---|---|---|---|---|---|")
    most = o.channels or GROWTH_CHANNELS[-1]
    for channels in (n for n in GROWTH_CHANNELS if n <= most):
        await _growth_row(o, channels, o.items or 1_000, (10,))
    for items in (n for n in GROWTH_ITEMS[1:] if n <= (o.items or GROWTH_ITEMS[-1])):
        await _growth_row(o, 1, items, GROWTH_HISTORY if items == GROWTH_ITEMS[1] else (10,))


async def _growth_row(o: Options, channels: int, items: int, lengths: tuple[int, ...]) -> None:
    with o.serve(o.exactly(channels, items)) as service:
        for length in lengths:
            each = histories(service, length)
            await warm(service, [requests[0] for requests in each])
            cases = {
                "empty": empty(service, CONNECTIONS, o.seconds),
                "own": closed(service, mixed(each), CONNECTIONS, o.seconds),
            }
            results = await in_rounds(cases, o.rounds)
            own, whole = median_rate(results["own"]), together(results["own"])
            share = own / median_rate(results["empty"])
            p50, p99 = whole.percentile(50) * 1e3, whole.percentile(99) * 1e3
            print(
                f"| {channels:,} | {items:,} | {length} | {own:,.0f} | {share:.2f} | {p50:.2f} | {p99:.2f} "
                f"| {whole.failures()} |",
                flush=True,
            )
