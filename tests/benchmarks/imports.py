"""Imports beside the fastest that each database can do with the same rows: COPY, and one executemany.

make bench-imports ARGS="--interactions 200000 --items 50000"
"""

import argparse
import csv
import sqlite3
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import psycopg

from app.store.channels import create_channel
from app.store.db import Database
from app.store.formats import Format
from app.store.imports import Kind, run_import
from app.store.tenants import create_tenant
from tests.benchmarks.load.progress import say
from tests.servers import Postgres, execute

RUNS = 3
COLUMNS = {
    Kind.ITEMS: ("channel_id", "item_id", "text", "attributes"),
    Kind.INTERACTIONS: ("channel_id", "user_id", "item_id", "timestamp"),
}
BARE = {
    Kind.ITEMS: (
        "CREATE TABLE {} (seq {serial}, channel_id text, item_id text, text text, attributes {json}, "
        "revision int DEFAULT 0)",
        "CREATE UNIQUE INDEX {0}_a ON {0} (channel_id, item_id)",
        "CREATE INDEX {0}_b ON {0} (channel_id, revision)",
    ),
    Kind.INTERACTIONS: (
        "CREATE TABLE {} (seq {serial}, channel_id text, user_id text, item_id text, timestamp bigint, "
        "event_id text)",
        "CREATE UNIQUE INDEX {0}_a ON {0} (channel_id, user_id, item_id, timestamp)",
        "CREATE INDEX {0}_b ON {0} (channel_id, user_id, timestamp)",
        "CREATE UNIQUE INDEX {0}_c ON {0} (channel_id, event_id)",
    ),
}
TYPES = {
    "sqlite": {"serial": "integer PRIMARY KEY", "json": "text"},
    "postgresql": {"serial": "bigserial PRIMARY KEY", "json": "json"},
}


@dataclass(frozen=True)
class File:
    """A file to import, and its rows as a database takes them."""

    kind: Kind
    path: Path
    rows: list[tuple[str | int, ...]]


def files(folder: Path, items: int, interactions: int) -> list[File]:
    """A catalogue, and interactions with it."""
    catalogue = [(f"i{n}", f"thing number {n} of kind {n % 97}", f"b{n % 50}") for n in range(items)]
    met = [(f"u{n % 5000}", f"i{n * 7919 % items}", 1_700_000_000_000 + n) for n in range(interactions)]
    found = []
    for kind, header, rows in (
        (Kind.ITEMS, ("item_id", "text", "brand"), catalogue),
        (Kind.INTERACTIONS, ("user_id", "item_id", "timestamp"), met),
    ):
        path = folder / f"{kind}.csv"
        with path.open("w", newline="") as out:
            csv.writer(out).writerows([header, *rows])
        plain: list[tuple[str | int, ...]] = [("c", *row) for row in rows]
        if kind is Kind.ITEMS:
            plain = [("c", i, text, f'{{"brand": "{brand}"}}') for i, text, brand in catalogue]
        found.append(File(kind, path, plain))
    return found


def seconds(work: Callable[[], None]) -> float:
    """How long it takes."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def imported(db: Database, given: list[File], name: str) -> list[float]:
    """Seconds of each file's import into a new channel."""
    with db.session() as s:
        channel_id = create_channel(s, create_tenant(s, name).id, "c", "", "bb").id
    spent = []
    for file in given:

        def work(file: File = file) -> None:
            run_import(db, channel_id, file.kind, file.path, Format.CSV, sha256="", actor="bench")

        spent.append(seconds(work))
    return spent


def statements(kind: Kind, table: str, types: dict[str, str]) -> list[str]:
    """What makes a bare table with the indexes that the real one has."""
    return [statement.format(table, **types) for statement in BARE[kind]]


def copied(uri: str, file: File, table: str) -> float:
    """Seconds of COPY into a bare table of PostgreSQL."""
    for statement in statements(file.kind, table, TYPES["postgresql"]):
        execute(uri, statement)

    def work() -> None:
        columns = ", ".join(COLUMNS[file.kind])
        statement = f"COPY {table} ({columns}) FROM STDIN".encode()
        with (
            psycopg.connect(uri) as connection,
            connection.cursor() as cursor,
            cursor.copy(statement) as copy,
        ):
            for row in file.rows:
                copy.write_row(row)

    return seconds(work)


def inserted(path: Path, file: File, table: str) -> float:
    """Seconds of one executemany into a bare table of SQLite."""
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = NORMAL")
    for statement in statements(file.kind, table, TYPES["sqlite"]):
        connection.execute(statement)
    names = ", ".join(COLUMNS[file.kind])
    marks = ", ".join("?" * len(COLUMNS[file.kind]))

    def work() -> None:
        with connection:
            connection.executemany(f"INSERT INTO {table} ({names}) VALUES ({marks})", file.rows)  # noqa: S608

    spent = seconds(work)
    connection.close()
    return spent


def measure(folder: Path, items: int, interactions: int) -> None:
    """Print a row a database and kind: rows a second, and the share of the reference in the same run."""
    given = files(folder, items, interactions)
    postgres = Postgres(folder / "postgres")
    try:
        sqlite_db, server_db = Database(f"sqlite:///{folder / 'a.db'}"), Database(postgres.url("bench"))
        found: dict[tuple[str, Kind], list[tuple[float, float]]] = {}
        for db in (sqlite_db, server_db):
            db.migrate()
        for run in range(RUNS):
            say(f"run {run + 1} of {RUNS}")
            for label, db in (("SQLite", sqlite_db), ("PostgreSQL", server_db)):
                ours = imported(db, given, f"t{run}")
                for file, spent in zip(given, ours, strict=True):
                    table = f"{file.kind.value}_{run}"
                    raw = folder / "raw.db"
                    bare = inserted(raw, file, table) if db.is_sqlite else copied(postgres.uri, file, table)
                    found.setdefault((label, file.kind), []).append(
                        (len(file.rows) / spent, len(file.rows) / bare)
                    )
            sqlite_db.dispose()
        print("| database | rows | import, rows/s | reference, rows/s | share |\n|---|---|---:|---:|---:|")
        for (label, kind), runs in found.items():
            ours_, bare_ = (statistics.median(run[n] for run in runs) for n in (0, 1))
            share = statistics.median(a / b for a, b in runs)
            count = len(given[0].rows if kind is Kind.ITEMS else given[1].rows)
            print(f"| {label} | {count:,} {kind.value} | {ours_:,.0f} | {bare_:,.0f} | {share:.2f} |")
        server_db.dispose()
    finally:
        postgres.close()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--items", type=int, default=50_000)
    parser.add_argument("--interactions", type=int, default=200_000)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="transrec-imports-") as directory:
        Path(directory).chmod(0o755)
        measure(Path(directory), asked.items, asked.interactions)
