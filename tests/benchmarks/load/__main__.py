"""Load on the real service over loopback, scenario by scenario, as Markdown.

make bench-serve ARGS="--scenario a b --channels 1000 --home var/load"
"""

import argparse
import contextlib
import gc
import os
import tempfile
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

import uvloop

from tests.benchmarks.load import items, latency, swaps, throughput
from tests.benchmarks.load.bench import Options
from tests.benchmarks.load.progress import say


@dataclass(frozen=True)
class Scenario:
    """One scenario: what it does, how many blocks of `--seconds` a round has, how else it takes its time."""

    run: Callable[[Options], Awaitable[None]]
    blocks: int
    starts: float  # seconds of populating and starting, about, on 2 cores


SCENARIOS = {
    "a": Scenario(throughput.one_channel, 6, 10),
    "b": Scenario(throughput.many_channels, 4, 600),
    "c": Scenario(latency.offered, 8, 15),
    "d": Scenario(throughput.tiers, 3, 30),
    "e": Scenario(swaps.swaps, 1, 60),
    "f": Scenario(latency.flood, 4, 10),
    "g": Scenario(throughput.growth, 18, 200),
    "h": Scenario(items.new_items, 0, 40),
}
QUICK = ("a", "c", "e", "f", "h")


def main() -> None:
    """Say what will be done, do it."""
    args = _parser().parse_args()
    settings = dict(pair.split("=", 1) for pair in args.set)
    with contextlib.ExitStack() as stack:
        root = args.home or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="transrec-load-")))
        options = Options(
            root, args.seconds, args.rounds, args.workers, args.channels, args.items, args.adapter,
            args.swaps, args.rate, args.tier_bytes, settings,
        )  # fmt: skip
        chosen = [SCENARIOS[name] for name in args.scenario]
        seconds = sum(s.blocks * options.rounds * options.seconds + s.starts for s in chosen)
        for name, scenario in zip(args.scenario, chosen, strict=True):
            say(f"{name}: {(scenario.run.__doc__ or '').strip()}")
        say(f"about {seconds / 60:.1f} minutes at the usual sizes; keep the machine idle")
        print(
            f"{os.cpu_count()} cores, API processes {args.workers}, blocks {args.rounds} x {args.seconds:g} s"
        )
        # A collection of all that torch brings along would stop the clients for a tenth of a second.
        gc.collect()
        gc.freeze()
        for scenario in chosen:
            uvloop.run(scenario.run(options))  # type: ignore[arg-type]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m tests.benchmarks.load",
        description=__doc__,
        epilog="\n".join(f"{name}: {(s.run.__doc__ or '').strip()}" for name, s in SCENARIOS.items()),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--scenario", nargs="+", choices=SCENARIOS, default=QUICK, metavar="LETTER")
    parser.add_argument("--channels", type=int, help="in place of the scenario's own number (b, d, g)")
    parser.add_argument("--items", type=int, help="items a channel, in place of the scenario's own number")
    parser.add_argument("--seconds", type=float, default=2, help="of one measured block (default 2)")
    parser.add_argument("--rounds", type=int, default=3, help="of all blocks in turn (default 3)")
    parser.add_argument("--workers", type=int, default=1, help="API processes (default 1)")
    parser.add_argument("--home", type=Path, help="folder that keeps the populated databases for another run")
    parser.add_argument(
        "--adapter", choices=("user", "both"), default="user", help="which encoders are adapted"
    )
    parser.add_argument("--swaps", type=int, default=30, help="of scenario e (default 30)")
    parser.add_argument("--rate", type=float, default=50, help="requests/s of scenario e (default 50)")
    parser.add_argument(
        "--tier-bytes", type=int, help="device tier of d (default: a quarter of the adapters)"
    )
    parser.add_argument("--set", action="append", default=[], metavar="TRANSREC_X=Y", help="for the service")
    return parser


if __name__ == "__main__":
    main()
