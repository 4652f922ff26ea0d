"""Events over HTTP beside the bare INSERT of the same rows, and how soon an answer shows an event.

make bench-events ARGS="--seconds 5"
"""

import argparse
import asyncio
import sqlite3
import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import psycopg

from tests.app.api.conftest import client, new_shop
from tests.benchmarks.load.client import closed_loop
from tests.benchmarks.load.connection import Request
from tests.benchmarks.load.progress import say
from tests.benchmarks.load.traffic import render
from tests.fakes import build_backbone
from tests.servers import Postgres, Service, Valkey, execute

KEY = "tr_operator-of-the-platform"
ITEMS = "item_id,text\n" + "".join(f"i{n},thing {n} of kind {n % 5}\n" for n in range(1000))
FIRST = "user_id,item_id,timestamp\nu0,i0,1\n"
BATCHES, CONNECTIONS = (1, 10, 100), 32
REFERENCE_ROWS = 100_000
SEEN_TIMES = 200
TABLE = (
    "CREATE TABLE bare (seq {}, channel_id text, user_id text, item_id text, timestamp bigint, "
    "event_id text)",
    "CREATE UNIQUE INDEX bare_a ON bare (channel_id, user_id, item_id, timestamp)",
    "CREATE INDEX bare_b ON bare (channel_id, user_id, timestamp)",
    "CREATE UNIQUE INDEX bare_c ON bare (channel_id, event_id)",
)
INSERT = (
    "INSERT INTO bare (channel_id, user_id, item_id, timestamp, event_id) VALUES ({0}, {0}, {0}, {0}, {0})"
)


def requests(key: str, size: int, count: int, salt: str) -> list[Request]:
    """Requests of `size` events each, no two events alike."""
    made = []
    for number in range(count):
        events = [
            {
                "event_id": f"{salt}-{number}-{n}",
                "user_id": f"u{(number * size + n) % 5000}",
                "item_id": f"i{(number * 31 + n) % 1000}",
                "timestamp": 1_700_000_000_000 + number * size + n,
            }
            for n in range(size)
        ]
        made.append(render("POST", "/v1/channels/books/events", key, {"events": events}))
    return made


def bare_rows() -> list[tuple[str, str, str, int, str]]:
    """The same kind of rows for the reference."""
    return [("c", f"u{n % 5000}", f"i{n % 1000}", n, f"e{n}") for n in range(REFERENCE_ROWS)]


def sqlite_reference(path: Path) -> float:
    """Rows a second of one executemany in one transaction."""
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA journal_mode = WAL")
    for statement in TABLE:
        connection.execute(statement.format("integer PRIMARY KEY"))
    rows, started = bare_rows(), time.perf_counter()
    with connection:
        connection.executemany(INSERT.format("?"), rows)
    return len(rows) / (time.perf_counter() - started)


def postgres_reference(uri: str) -> float:
    """The same on PostgreSQL."""
    for statement in TABLE:
        execute(uri, statement.format("bigserial PRIMARY KEY"))
    rows, started = bare_rows(), time.perf_counter()
    with psycopg.connect(uri) as connection, connection.cursor() as cursor:
        cursor.executemany(INSERT.format("%s").encode(), rows)
    return len(rows) / (time.perf_counter() - started)


@contextmanager
def shops(url: str) -> Iterator[tuple[str, httpx.Client, httpx.Client]]:
    """A channel of 1,000 items: the writer's key, a writer and a reader."""
    with client(url, KEY) as platform, new_shop(url, platform, ITEMS, FIRST) as shop:
        key = shop.writer.headers["authorization"].removeprefix("Bearer ")
        yield key, shop.writer, shop.reader


def throughput(label: str, service: Service, key: str, seconds: float, reference: float) -> None:
    """Print a row a batch size."""
    port = int(service.url.rpartition(":")[2])
    for size in BATCHES:
        made = requests(key, size, max(200, int(4000 * seconds / max(1, size / 4))), f"{label}{size}")
        say(f"{label}: batches of {size}")
        result = asyncio.run(closed_loop(port, made, CONNECTIONS, seconds))
        count = len(result.latencies)
        assert count < len(made), "the requests came around: they were duplicates"
        assert not result.errors, result.errors
        rate = count * size / result.seconds
        p99 = sorted(result.latencies)[int(count * 0.99)] * 1000
        print(f"| {label} | {size} | {rate:,.0f} | {p99:.1f} | {rate / reference:.2f} |", flush=True)


def seen(writer: httpx.Client, here: httpx.Client, there: httpx.Client) -> None:
    """Print how long after an event's 200 the answers show it, in the same process and in another one."""
    path, delays = "/v1/channels/books/recommendations", {"same": [], "other": []}  # type: ignore[var-annotated]
    for n in range(SEEN_TIMES):
        user, item = f"seen{n % 20}", f"i{(n * 13) % 1000}"
        for reader in (here, there):  # both have the history of before
            reader.post(path, json={"user_id": user, "count": 1})
        writer.post(
            "/v1/channels/books/events", json={"events": [{"user_id": user, "item_id": item}]}
        ).raise_for_status()
        stored = time.perf_counter()
        for name, reader in (("same", here), ("other", there)):
            # What was met is left out: with the whole catalogue asked for, it is the one that is missing.
            while item in {
                each["item_id"]
                for each in reader.post(path, json={"user_id": user, "count": 500}).json()["items"]
            }:
                pass
            delays[name].append(time.perf_counter() - stored)
    for name, found in delays.items():
        p99 = sorted(found)[int(len(found) * 0.99)] * 1000
        print(f"| {name} process | {statistics.median(found) * 1000:.1f} | {p99:.1f} |")


def measure(folder: Path, seconds: float) -> None:
    """All of it, on both databases."""
    build_backbone(folder / "backbone")
    valkey, postgres = Valkey(folder), Postgres(folder / "postgres")
    settings = {
        "TRANSREC_REDIS_URL": valkey.url,
        "TRANSREC_BACKBONE": str(folder / "backbone"),
        "TRANSREC_OPERATOR_KEY": KEY,
        "TRANSREC_LOG_LEVEL": "INFO",
    }
    on_server = settings | {"TRANSREC_DATABASE_URL": postgres.url("bench")}
    alone, a, b = (
        Service(folder / "alone", settings),
        Service(folder / "a", on_server),
        Service(folder / "b", on_server),
    )
    try:
        print("| database | events a request | events/s | p99, ms | share of a bare INSERT |")
        print("|---|---:|---:|---:|---:|")
        with shops(alone.start().url) as (key, _, _):
            throughput("SQLite", alone, key, seconds, sqlite_reference(folder / "bare.db"))
        alone.stop()
        with shops(a.start().url) as (key, writer, reader):
            throughput("PostgreSQL", a, key, seconds, postgres_reference(postgres.uri))
            b.start()
            with client(b.url, reader.headers["authorization"].removeprefix("Bearer ")) as there:
                print("\n| answer of the | median, ms | p99, ms |\n|---|---:|---:|")
                seen(writer, reader, there)
    finally:
        for service in (alone, a, b):
            service.stop()
        valkey.close()
        postgres.close()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=5.0, help="of each block")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="transrec-events-") as directory:
        Path(directory).chmod(0o755)
        measure(Path(directory), asked.seconds)
