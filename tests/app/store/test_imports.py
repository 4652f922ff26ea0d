"""Imports: whole or not at all, and idempotent."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from sqlalchemy import delete, select

from app.core.errors import ImportRejected, Invalid
from app.store import catalog, events, imports
from app.store.catalog import ItemRow
from app.store.channels import generations
from app.store.db import Database
from app.store.formats import Format
from app.store.imports import ImportReport, Kind
from app.store.tables import Channel, Import, Interaction

ITEMS = b"item_id,text,price\na,A,1\nb,B,\na,A,1\n"
INTERACTIONS = b"user_id,item_id,timestamp\nu,a,1\nu,b,2\nu,a,1\n"


class Importer:
    """Imports bytes into one channel."""

    def __init__(self, database: Database, channel: Channel, path: Path) -> None:
        self.database, self.channel, self.path = database, channel, path

    def __call__(self, kind: Kind, content: bytes, **options: Any) -> ImportReport:
        self.path.write_bytes(content)
        return self.file(kind, Format.CSV, **options)

    def file(self, kind: Kind, format: Format, **options: Any) -> ImportReport:  # noqa: A002
        return imports.run_import(
            self.database, self.channel.id, kind, self.path, format, sha256="0", actor="me", **options
        )

    def state(self) -> tuple[int, int, int]:
        """Items, interactions and the generation."""
        with self.database.read() as s:
            items = catalog.count_items(s, self.channel.id)
            interactions = events.count_interactions(s, self.channel.id)
            return items, interactions, generations(s)[self.channel.id]


@pytest.fixture
def importer(database: Database, channel: Channel, tmp_path: Path) -> Importer:
    return Importer(database, channel, tmp_path / "upload")


def counts(report: ImportReport) -> tuple[int, int, int, int]:
    return report.rows, report.inserted, report.updated, report.unchanged


def test_items_then_interactions(importer: Importer) -> None:
    assert counts(importer(Kind.ITEMS, ITEMS)) == (3, 2, 0, 1)
    assert counts(importer(Kind.INTERACTIONS, INTERACTIONS)) == (3, 2, 0, 1)
    assert importer.state() == (2, 2, 2)
    with importer.database.read() as s:
        assert catalog.load_items(s, importer.channel.id) == [
            ItemRow("a", "A", {"price": "1"}),
            ItemRow("b", "B"),
        ]
        assert events.history(s, importer.channel.id, "u") == ["a", "b"]
        assert s.scalars(select(Interaction.timestamp)).all() == [1000, 2000]


def test_same_file_twice_changes_nothing(importer: Importer) -> None:
    for kind, content in ((Kind.ITEMS, ITEMS), (Kind.INTERACTIONS, INTERACTIONS)):
        importer(kind, content)
        before = importer.state()
        assert counts(importer(kind, content)) == (3, 0, 0, 3)
        assert importer.state() == before


def test_changed_item_is_updated(importer: Importer) -> None:
    importer(Kind.ITEMS, ITEMS)
    assert counts(importer(Kind.ITEMS, b"item_id,title\na,A2\nb,B\n")) == (2, 0, 1, 1)


def test_bad_lines_are_all_reported_and_nothing_is_stored(importer: Importer) -> None:
    content = b"item_id,text\na,A\n,B\nc,\nd,D,D\na,other\n\xff,E\n"
    with pytest.raises(ImportRejected, match="5 of 6 lines are bad") as caught:
        importer(Kind.ITEMS, content)
    report = caught.value.report
    assert report["status"] == "REJECTED" and report["error_count"] == 5
    assert report["errors"] == [
        {"line": 3, "reason": "the item_id is empty"},
        {"line": 4, "reason": "the text is empty"},
        {"line": 5, "reason": "the line has 3 fields, the header has 2"},
        {"line": 6, "reason": "item 'a' is on line 2 already, with other content"},
        {"line": 7, "reason": "the line is not UTF-8 (byte 1)"},
    ]
    assert importer.state() == (0, 0, 0)
    with importer.database.read() as s:
        (row,) = imports.list_imports(s, importer.channel.id)
        assert (row.id, row.status, row.errors) == (report["import_id"], "REJECTED", report["errors"])


def test_unknown_item_in_interactions(importer: Importer) -> None:
    importer(Kind.ITEMS, ITEMS)
    with pytest.raises(ImportRejected) as caught:
        importer(Kind.INTERACTIONS, INTERACTIONS + b"u,x,3\n")
    reason = "item 'x' is not in the catalogue: upload it first"
    assert caught.value.report["errors"] == [{"line": 5, "reason": reason}]
    assert importer.state() == (2, 0, 1)


def test_the_list_of_bad_lines_is_bounded(importer: Importer) -> None:
    with pytest.raises(ImportRejected) as caught:
        importer(Kind.ITEMS, b"item_id,text\n" + b"a,\n" * 1500)
    assert caught.value.report["error_count"] == 1500
    assert len(caught.value.report["errors"]) == 1000


def test_wrong_file_leaves_no_trace(importer: Importer) -> None:
    with pytest.raises(Invalid, match="no column 'item_id'"):
        importer(Kind.ITEMS, b"id,text\na,A\n")
    with importer.database.read() as s:
        assert s.scalars(select(Import)).all() == []


def test_error_half_way_leaves_nothing(importer: Importer, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second chunk fails after the first one was written."""
    monkeypatch.setattr(catalog, "_ROWS", 100)
    write, calls = catalog._write, []

    def failing(*arguments: Any) -> None:
        calls.append(arguments)
        if len(calls) == 2:
            raise RuntimeError("killed")
        write(*arguments)

    monkeypatch.setattr(catalog, "_write", failing)
    content = b"item_id,text\n" + b"".join(b"i%d,x\n" % number for number in range(250))
    with pytest.raises(RuntimeError, match="killed"):
        importer(Kind.ITEMS, content)
    assert importer.state() == (0, 0, 0)
    assert len(calls) == 2
    monkeypatch.undo()
    assert counts(importer(Kind.ITEMS, content)) == (250, 250, 0, 0)


def test_imports_at_once_in_opposite_orders(importer: Importer, tmp_path: Path) -> None:
    """The one that comes later waits for the other's rows; in the files' own orders each would wait."""
    importer(Kind.ITEMS, ITEMS)
    rows = [f"u{number},a,{number}\n" for number in range(20_000)]
    files = []
    for name, ordered in (("up", rows), ("down", rows[::-1])):
        files.append(tmp_path / name)
        files[-1].write_text("user_id,item_id,timestamp\n" + "".join(ordered))

    def run(path: Path) -> ImportReport:
        one = Importer(importer.database, importer.channel, path)
        return one.file(Kind.INTERACTIONS, Format.CSV)

    for _ in range(2):
        with ThreadPoolExecutor() as pool:
            reports = list(pool.map(run, files))
        assert sorted(counts(report) for report in reports) == [
            (20_000, 0, 0, 20_000),
            (20_000, 20_000, 0, 0),
        ]
        with importer.database.session() as s:
            s.execute(delete(Interaction))


def test_parquet_and_several_chunks(importer: Importer) -> None:
    ids = [f"i{number}" for number in range(12_000)]
    pq.write_table(pa.table({"item_id": ids, "title": ids, "price": [1.5] * len(ids)}), importer.path)
    assert counts(importer.file(Kind.ITEMS, Format.PARQUET)) == (12_000, 12_000, 0, 0)
    pq.write_table(
        pa.table({"user_id": ["u"] * 12_000, "item_id": ids, "timestamp": range(12_000)}), importer.path
    )
    assert counts(importer.file(Kind.INTERACTIONS, Format.PARQUET)) == (12_000, 12_000, 0, 0)
    with importer.database.read() as s:
        assert events.sequences(s, importer.channel.id) == {"u": ids}
