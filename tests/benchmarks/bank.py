"""Rows of many channels in one forward, beside the same rows of one channel and of the bare backbone.

python -m tests.benchmarks.bank [user] [item] [--rows 16 64 256 1024] [--channels 16 256 1024] [--rounds 7]

Each round runs one after the other; figures are medians of milliseconds, ratios are medians of the rounds'.
"""

import argparse
import statistics
import time
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from app.model.adapters import attach, extract
from app.model.backbone import Backbone, load_backbone
from app.model.bank import Bank
from app.model.bank_maker import SlotMaker
from app.model.bank_slots import AdapterWeights
from app.model.device import keep_freed_memory
from app.model.encode import tokens_per_batch
from app.model.families import PartName
from app.model.methods import AdapterConfig
from training.sources import read_retail

BARE = AdapterWeights("", None, {})
HOULSBY = AdapterConfig()
MIXED = [
    HOULSBY,
    *(AdapterConfig.model_validate({"method": m}) for m in ("pfeiffer", "compacter", "lora", "layer_norm")),
    AdapterConfig(placement="parallel", bottleneck=128, user_bottleneck=32),
]
HOST_COPIES = 16
"""Distinct random weights on the host; each channel still has a slot of its own on the device."""

Rows = Sequence[AdapterWeights]
Forward = Callable[[Rows], Tensor]


def make_channels(backbone: Backbone, configs: Sequence[AdapterConfig], count: int) -> list[AdapterWeights]:
    """Adapters of random weights, method after method."""
    generator = torch.Generator().manual_seed(0)
    host = []
    for number in range(HOST_COPIES):
        config = configs[number % len(configs)]
        start = extract(attach(backbone.model, config))
        host.append(
            (config, {k: v + 0.02 * torch.randn(v.shape, generator=generator) for k, v in start.items()})
        )
    return [AdapterWeights(str(n), *host[n % HOST_COPIES]) for n in range(count)]


def users(backbone: Backbone, bank: Bank, rows: int) -> Forward:
    """A batch of that many random histories."""
    config = backbone.model.config
    e = torch.randn(rows, config.length, config.dim)
    real = torch.arange(config.length) >= torch.randint(config.length, (rows, 1))
    return lambda adapters: bank.users(adapters, e, real)


def items(backbone: Backbone, bank: Bank, rows: int) -> Forward:
    """A batch of titles, in the buckets that encoding cuts."""
    titles = [*read_retail("PASTRY").items.values()]
    inputs = backbone.inputs([titles[i % len(titles)] for i in range(rows)])
    buckets = [*inputs.buckets(np.arange(rows), tokens_per_batch(torch.device("cpu")))]
    batches = [(bucket, inputs.batch(bucket)) for bucket in buckets]
    return lambda adapters: torch.cat([bank.items([adapters[i] for i in at], *b) for at, b in batches])


def measure(forward: Forward, kinds: Sequence[Rows], rounds: int) -> list[list[float]]:
    """Milliseconds of each kind in each round, after one to warm up."""
    seconds: list[list[float]] = [[] for _ in kinds]
    start = time.perf_counter()
    for kind in kinds:
        forward(kind)
    times = max(1, int(0.05 * len(kinds) / (time.perf_counter() - start)))
    for _ in range(rounds):
        for kind, found in zip(kinds, seconds, strict=True):
            start = time.perf_counter()
            for _ in range(times):
                forward(kind)
            found.append((time.perf_counter() - start) / times * 1e3)
    return seconds


def report(name: str, rows: int, counts: Sequence[int], seconds: list[list[float]]) -> None:
    """Lines of the Markdown table: the bare backbone, one channel, then each number of channels."""
    bare, one, *mixed = seconds
    dear = statistics.median(o / b for o, b in zip(one, bare, strict=True))
    for count, found in zip(counts, mixed, strict=True):
        ratio = statistics.median(o / m for o, m in zip(one, found, strict=True))
        times = " | ".join(f"{statistics.median(x):,.2f}" for x in (bare, one, found))
        print(f"| {name} | {rows} | {count} | {times} | {dear:.3f} | {ratio:.3f} |", flush=True)


def floors(backbone: Backbone, part: PartName, tokens: int) -> None:
    """What a row costs by count."""
    model = backbone.model
    whole = [p for n, p in model.named_parameters() if n.startswith(f"{part}_encoder.") and p.dim() == 2]
    weights = sum(p.numel() for p in whole if len(p) < 10_000)  # but for the table of words
    slot = SlotMaker(model, part)(make_channels(backbone, [HOULSBY], 1)[0])
    own = sum(t.numel() for tensors in slot.changes.values() for t in tensors)
    print(
        f"{part}: {weights:,} weights a token, {own:,} more with Houlsby ({own / weights:.1%}); {tokens} "
        f"tokens a row; one adapter is {slot.nbytes:,} bytes, which a row of a mixed batch copies."
    )


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("parts", nargs="*", default=["user", "item"])
    parser.add_argument("--rows", type=int, nargs="+", default=[16, 64, 256, 1024])
    parser.add_argument("--channels", type=int, nargs="+", default=[16, 256, 1024])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--fresh-pages", action="store_true", help="leave malloc as it is")
    parser.add_argument("--backbone", default="minilm-transrec")
    args = parser.parse_args()
    if not args.fresh_pages:
        keep_freed_memory()
    torch.manual_seed(0)
    backbone = load_backbone(args.backbone)
    for part, batch, tokens in (("user", users, backbone.model.config.length), ("item", items, 16)):
        if part not in args.parts:
            continue
        floors(backbone, part, tokens)  # type: ignore[arg-type]
        print("| adapters | rows | channels | bare ms | one ms | mixed ms | one / bare | mixed throughput |")
        print("|---|---:|---:|---:|---:|---:|---:|---:|")
        for name, configs in (("houlsby", [HOULSBY]), ("six kinds", MIXED)):
            channels = make_channels(backbone, configs, max(args.channels))
            bank = Bank(backbone.model, part, 8 << 30)  # type: ignore[arg-type]
            for rows in args.rows:
                counts = [count for count in args.channels if count <= rows]
                mixes = [[channels[i % count] for i in range(rows)] for count in counts]
                kinds = [[BARE] * rows, [channels[0]] * rows, *mixes]
                report(name, rows, counts, measure(batch(backbone, bank, rows), kinds, args.rounds))


if __name__ == "__main__":
    main()
