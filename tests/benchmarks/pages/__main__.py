"""Seconds, bytes and time to interactive of every page of the console, with many channels and one big one.

make bench-pages ARGS="--interactions 200000 --no-browser"
"""

import argparse
import contextlib
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from tests.benchmarks.load.progress import say
from tests.benchmarks.pages.browser import look
from tests.benchmarks.pages.population import BIG, BIG_TENANT, Size, populate
from tests.benchmarks.pages.wire import Wire
from tests.fakes import build_backbone
from tests.servers import Service, Valkey

KEY = "tr_operator-of-the-platform"
CHANNEL = f"/channels/{BIG_TENANT}/{BIG}"
PAGES = (
    ("overview", "/"),
    ("overview by interactions", "/?sort=-interactions"),
    ("overview, a search as one types", "/overview?search=channel-4"),
    ("overview, its rows again", "/overview?part=rows"),
    ("big channel", CHANNEL),
    ("big channel, its facts again", f"{CHANNEL}/front"),
    ("data", f"{CHANNEL}/data"),
    ("training", f"{CHANNEL}/training"),
    ("releases", f"{CHANNEL}/releases"),
    ("playground", f"{CHANNEL}/playground"),
    ("item map", f"{CHANNEL}/map"),
    ("settings", f"{CHANNEL}/settings"),
    ("tenants", "/tenants"),
    ("audit", "/audit"),
    ("system", "/system"),
)
"""Every page, and what a page asks for by itself (which a browser does not open)."""
PARTS = ("/overview", "/front")


def main() -> None:
    """Populate, serve, measure, print."""
    args = _parser().parse_args()
    size = Size(args.channels, args.tenants, args.items, args.interactions)
    with contextlib.ExitStack() as stack:
        folder = args.home or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="transrec-pages-")))
        service = stack.enter_context(_serving(folder, size))
        with Wire(service.url, KEY) as wire:
            there = [(name, path) for name, path in PAGES if wire.is_there(name, path)]
            print(f"{size.channels} channels of {size.tenants} tenants; the big one has", end=" ")
            print(f"{size.items:,} items and {size.interactions:,} interactions. SQLite.\n")
            wire.table(there, args.rounds)
            if not args.no_browser:
                pages = [(name, path) for name, path in there if path.partition("?")[0] not in _parts()]
                look(service.url, wire.cookie, pages)


def _parts() -> set[str]:
    return {path.partition("?")[0] for _, path in PAGES if path.partition("?")[0].endswith(PARTS)}


@contextlib.contextmanager
def _serving(folder: Path, size: Size) -> Iterator[Service]:
    home, backbone = folder / "home", folder / "backbone"
    if not (home / "whole").exists():
        shutil.rmtree(home, ignore_errors=True)
        shutil.rmtree(backbone, ignore_errors=True)
        home.mkdir(parents=True)
        build_backbone(backbone)
        populate(f"sqlite:///{home / 'transrec.db'}", backbone, size)
        (home / "whole").touch()
    valkey = Valkey(folder)
    settings = {
        "TRANSREC_REDIS_URL": valkey.url,
        "TRANSREC_BACKBONE": str(backbone),
        "TRANSREC_OPERATOR_KEY": KEY,
        "TRANSREC_LOG_LEVEL": "WARNING",
    }
    service = Service(home, settings)
    service.log.unlink(missing_ok=True)  # of a run before: its address is read from there
    try:
        say("starting the service; it builds every channel's release")
        yield service.start()
    finally:
        service.stop()
        valkey.close()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m tests.benchmarks.pages",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--channels", type=int, default=500)
    parser.add_argument("--tenants", type=int, default=10)
    parser.add_argument("--items", type=int, default=100_000, help="of the big channel")
    parser.add_argument("--interactions", type=int, default=1_000_000, help="of the big channel")
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--no-browser", action="store_true", help="without Chromium")
    parser.add_argument("--home", type=Path, help="folder that keeps the populated database for another run")
    return parser


if __name__ == "__main__":
    main()
