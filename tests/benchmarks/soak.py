"""A soak: recommendations, events, new items and promotes for a quarter of an hour, and what memory does.

make bench-soak ARGS="--minutes 15"
"""

import argparse
import asyncio
import random
import tempfile
import time
from pathlib import Path

import httpx
import numpy as np

from app.model.backbone import load_backbone
from tests.app.api.conftest import Shop, client, new_shop
from tests.benchmarks.load.progress import say
from tests.benchmarks.load.service import memory
from tests.fakes import adapter_bytes, build_backbone
from tests.servers import Service, Valkey

KEY = "tr_operator-of-the-platform"
ITEMS = "item_id,text,kind\n" + "".join(f"i{n},thing {n} of kind {n % 5},k{n % 5}\n" for n in range(5000))
EVENTS = "user_id,item_id,timestamp\n" + "".join(f"u{n % 500},i{n % 5000},{n}\n" for n in range(20_000))
SAMPLE_SECONDS = 15.0
PACE = 0.1  # seconds between two acts of a client
CLIENTS = 4
BOOKS = "/v1/channels/books"


async def act(shop: Shop, number: int, http: httpx.AsyncClient, counts: dict[str, int]) -> None:
    """One act of a client: mostly recommendations, now and then a write."""
    reader, writer = (dict(c.headers) for c in (shop.reader, shop.writer))
    user, item, dice = f"u{random.randrange(2000)}", f"i{random.randrange(5000)}", random.random()
    if dice < 0.7:
        body = {"user_id": user, "count": 10, "filter": {"kind": f"k{random.randrange(5)}"}}
        answer = await http.post(f"{BOOKS}/recommendations", json=body, headers=reader)
    elif dice < 0.97:
        body = {"events": [{"user_id": user, "item_id": item}]}
        answer = await http.post(f"{BOOKS}/events", json=body, headers=writer)
    else:
        answer = await http.put(f"{BOOKS}/items/{item}", json={"text": f"thing {number}"}, headers=writer)
    counts[str(answer.status_code)] = counts.get(str(answer.status_code), 0) + 1


async def load(url: str, shop: Shop, end: float, counts: dict[str, int]) -> None:
    """Clients that act until the end, and an operator who promotes one version after the other."""
    async with httpx.AsyncClient(base_url=url, timeout=30) as http:

        async def customer() -> None:
            number = 0
            while time.monotonic() < end:
                await act(shop, number, http, counts)
                number += 1
                await asyncio.sleep(PACE)

        async def operator() -> None:
            version = 1
            while time.monotonic() < end:
                await asyncio.sleep(10)
                version = 3 - version
                headers = dict(shop.operator.headers)
                path = "/v1/admin/channels/books/releases/promote"
                await http.post(path, json={"version": version}, headers=headers)

        await asyncio.gather(operator(), *(customer() for _ in range(CLIENTS)))


async def sampled(pid: int, end: float, samples: list[tuple[float, float]]) -> None:
    """Note the memory of the server and its children."""
    start = time.monotonic()
    while time.monotonic() < end:
        samples.append((time.monotonic() - start, memory(pid).pss / 1e6))
        await asyncio.sleep(SAMPLE_SECONDS)


def measure(folder: Path, minutes: float) -> None:
    """Print memory at the start, the middle and the end, and its slope over the second half."""
    build_backbone(folder / "backbone")
    backbone = load_backbone(str(folder / "backbone"))
    valkey = Valkey(folder)
    service = Service(
        folder / "home",
        {
            "TRANSREC_REDIS_URL": valkey.url,
            "TRANSREC_BACKBONE": str(folder / "backbone"),
            "TRANSREC_OPERATOR_KEY": KEY,
        },
    )
    counts: dict[str, int] = {}
    samples: list[tuple[float, float]] = []
    try:
        url = service.start().url
        with client(url, KEY) as platform, new_shop(url, platform, ITEMS, EVENTS) as shop:
            for seed in (1, 2):
                upload = adapter_bytes(backbone, seed)
                shop.operator.post("/v1/admin/channels/books/adapters", content=upload).raise_for_status()
            say(f"{minutes:g} minutes of load")
            end = time.monotonic() + 60 * minutes

            async def run() -> None:
                await asyncio.gather(load(url, shop, end, counts), sampled(service.pid, end, samples))

            asyncio.run(run())
    finally:
        service.stop()
        valkey.close()
    times, sizes = np.array(samples).T
    half = len(times) // 2
    slope = float(np.polyfit(times[half:], sizes[half:], 1)[0]) * 3600
    print("| minutes | answers | other than 2xx | memory (PSS) at first, MB | half way | at last | MB/hour |")
    print("|---:|---:|---:|---:|---:|---:|---:|")
    bad = sum(n for status, n in counts.items() if not status.startswith("2"))
    print(
        f"| {minutes:g} | {sum(counts.values()):,} | {bad:,} | {sizes[0]:.0f} | {sizes[half]:.0f} "
        f"| {sizes[-1]:.0f} | {slope:+.0f} |"
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=15.0)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="transrec-soak-") as directory:
        measure(Path(directory), asked.minutes)
