"""Time, bytes, requests and time to interactive of every page, with many channels and one big one.

make bench-pages ARGS="--interactions 200000 --no-browser"
"""

import argparse
import contextlib
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import httpx

from tests.benchmarks.load.progress import say
from tests.benchmarks.pages.browser import look
from tests.benchmarks.pages.places import places
from tests.benchmarks.pages.population import BIG, BIG_TENANT, Size, populate
from tests.benchmarks.pages.wire import Wire
from tests.fakes import build_backbone
from tests.servers import Service, Valkey

KEY = "tr_operator-of-the-platform"
MOST_LOOKS = 3  # of Chromium at a page


def main() -> None:
    """Populate, serve, measure, print."""
    args = _parser().parse_args()
    size = Size(args.channels, args.tenants, args.items, args.interactions)
    with contextlib.ExitStack() as stack:
        folder = args.home or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="transrec-pages-")))
        service = stack.enter_context(_serving(folder, size))
        with Wire(service.url, KEY) as wire:
            there = [place for place in places(_job(service.url)) if wire.is_there(place)]
            print(f"{size.channels} channels of {size.tenants} tenants; the big one has", end=" ")
            print(f"{size.items:,} items and {size.interactions:,} interactions. SQLite.\n")
            wire.table(there, args.rounds)
            if not args.no_browser:
                pages = [place for place in there if not place.is_part]
                look(service.url, wire.cookie, pages, min(args.rounds, MOST_LOOKS))


def _job(url: str) -> str:
    """A training job of the big channel."""
    path = f"{url}/v1/admin/channels/{BIG}/training-jobs"
    answer = httpx.get(
        path, params={"tenant": BIG_TENANT, "limit": 1}, headers={"Authorization": f"Bearer {KEY}"}
    )
    return str(answer.json()[0]["id"])


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
