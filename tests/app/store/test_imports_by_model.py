"""Imports at random beside a model of them in plain Python: the same reports, and the same rows."""

import csv
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from sqlalchemy import select

from app.core.errors import ImportRejected
from app.store import catalog, imports, lines
from app.store.db import Database
from app.store.formats import Format
from app.store.imports import Kind
from app.store.tables import Channel, DeletedItem, Interaction, Item

Fields = list[str]
Bad = list[tuple[int, str]]
HEADERS = {Kind.ITEMS: ["item_id", "text", "brand"], Kind.INTERACTIONS: ["user_id", "item_id", "timestamp"]}
ODD_IDS = {
    "": "is empty",
    " a": "' a' begins or ends with white space",
    "x" * 129: "is longer than 128 characters",
}
ODD_TEXTS = {"": "is empty", "\t": "is empty", "x" * 10_001: "is longer than 10000 characters"}
ODD_TIMES = {
    "soon": " 'soon' is neither a number nor ISO 8601",
    "1_0": " '1_0' is neither a number nor ISO 8601",
    "": " '' is neither a number nor ISO 8601",
    "-1": " is out of range: it must lie from 1970 to 2100",
}
GOOD_TIMES = {"7": 7000, "100000000007": 100000000007, "1.5": 1500, "1970-01-01T00:00:09Z": 9000, " 8 ": 8000}


@dataclass
class Model:
    """What a channel has: items by id in order of arrival, tombstones, interactions in their order."""

    items: dict[str, tuple[str, str, int]] = field(default_factory=dict)
    deleted: dict[str, int] = field(default_factory=dict)
    met: list[tuple[str, str, int]] = field(default_factory=list)
    revision: int = 0

    def check(self, kind: Kind, rows: list[tuple[int, Fields]]) -> Bad:
        """The bad lines and why."""
        seen: dict[str, tuple[int, Fields]] = {}
        check = self._bad_item if kind is Kind.ITEMS else self._bad_met
        return [(n, reason) for n, fields in rows if (reason := check(n, fields, seen))]

    def _bad_item(self, number: int, fields: Fields, seen: dict[str, tuple[int, Fields]]) -> str | None:
        if len(fields) != 3:
            return f"the line has {len(fields)} fields, the header has 3"
        if fields[0] in ODD_IDS:
            return f"the item_id {ODD_IDS[fields[0]]}"
        if fields[1] in ODD_TEXTS:
            return f"the text {ODD_TEXTS[fields[1]]}"
        first, known = seen.setdefault(fields[0], (number, fields))
        if known != fields:
            return f"item {fields[0]!r} is on line {first} already, with other content"
        return None

    def _bad_met(self, _number: int, fields: Fields, _seen: dict[str, tuple[int, Fields]]) -> str | None:
        if len(fields) != 3:
            return f"the line has {len(fields)} fields, the header has 3"
        user_id, item_id, time = fields
        if user_id in ODD_IDS:
            return f"the user_id {ODD_IDS[user_id]}".replace("' a' ", "")
        if item_id in ODD_IDS:
            return f"the item_id {ODD_IDS[item_id]}"
        if time in ODD_TIMES:
            return f"the timestamp{ODD_TIMES[time]}"
        return None if item_id in self.items else f"item {item_id!r} is not in the catalogue: upload it first"

    def store(self, kind: Kind, rows: list[Fields]) -> tuple[int, int]:
        """Write rows that are good; returns how many were (inserted, updated)."""
        inserted = updated = 0
        for fields in rows:
            if kind is Kind.ITEMS:
                item_id, text, brand = fields
                before = self.items.get(item_id)
                if before is None or before[:2] != (text, brand):
                    inserted, updated = inserted + (before is None), updated + (before is not None)
                    self.items[item_id] = text, brand, self.revision + 1
                    self.deleted.pop(item_id, None)
            elif (met := (fields[0], fields[1], GOOD_TIMES[fields[2]])) not in self.met:
                self.met.append(met)
                inserted += 1
        self.revision += kind is Kind.ITEMS and inserted + updated > 0
        return inserted, updated

    def delete(self, ids: list[str]) -> None:
        """Delete items; interactions stay."""
        self.revision += 1
        for item_id in ids:
            del self.items[item_id]
            self.deleted[item_id] = self.revision


def drawn(draw: random.Random, kind: Kind, model: Model) -> list[Fields]:
    """Rows of a file: mostly good ones, in two files of three all of them."""
    odd = draw.choice([0.0, 0.0, 0.05])

    def one(good: Callable[[], str], bad: dict[str, str]) -> str:
        return draw.choice(list(bad)) if draw.random() < odd else good()

    def row() -> Fields:
        if draw.random() < odd:
            return ["a", "b", "c", "d"]
        if kind is Kind.ITEMS:
            number = draw.randrange(60)
            version = draw.choice(["", "", " new"]) if odd else f" {len(model.deleted)}"
            text = f"thing,{version}" if number % 7 else f'a "thing"\nof ünlike 😀 lines{version}'
            return [one(lambda: f"i{number}", ODD_IDS), one(lambda: text, ODD_TEXTS), "red" * (number % 3)]
        known = list(model.items) or ["none"]
        users, times = (lambda: f"u{draw.randrange(9)}"), (lambda: draw.choice(list(GOOD_TIMES)))
        item_id = "unknown" if draw.random() < odd else one(lambda: draw.choice(known), ODD_IDS)
        return [one(users, ODD_IDS), item_id, one(times, ODD_TIMES)]

    return [row() for _ in range(draw.randrange(1, 80))]


def written(path: Path, kind: Kind, rows: list[Fields], draw: random.Random) -> list[tuple[int, Fields]]:
    """Write them, with an empty line here and there; returns each with the number of its first line."""
    numbered = []
    with path.open("w", newline="") as out:
        writer = csv.writer(out, lineterminator=draw.choice(["\n", "\r\n"]))
        writer.writerow(HEADERS[kind])
        line = 2
        for row in rows:
            if draw.random() < 0.02:
                out.write("\n")
                line += 1
            numbered.append((line, row))
            writer.writerow(row)
            line += 1 + sum(value.count("\n") for value in row)
    return numbered


def assert_is(database: Database, channel_id: str, model: Model) -> None:
    with database.read() as s:
        items = s.scalars(select(Item).where(Item.channel_id == channel_id).order_by(Item.seq)).all()
        found = {i.item_id: (i.text, i.attributes, i.revision) for i in items}
        assert found == {i: (t, {"brand": b} if b else {}, r) for i, (t, b, r) in model.items.items()}
        assert list(found) == list(model.items)
        deleted = s.scalars(select(DeletedItem).where(DeletedItem.channel_id == channel_id))
        assert {row.item_id: row.revision for row in deleted} == model.deleted
        query = select(Interaction).where(Interaction.channel_id == channel_id)
        met = s.scalars(query.order_by(Interaction.user_id, Interaction.timestamp, Interaction.seq))
        expected = sorted(model.met, key=lambda row: (row[0], row[2]))  # of one moment as they came
        assert [(row.user_id, row.item_id, row.timestamp) for row in met] == expected
        assert catalog.changes_since(s, channel_id, -1).revision == model.revision


@pytest.mark.parametrize("seed", range(8))
def test_imports_do_what_the_model_does(
    database: Database, channel: Channel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    """Blocks and pieces of a few rows each, so that files go across them."""
    monkeypatch.setattr(lines, "_BLOCK_BYTES", 200)
    monkeypatch.setattr(catalog, "_ROWS", 17)
    monkeypatch.setattr(catalog, "_FEW", 5)
    draw, model, path, rejected = random.Random(seed), Model(), tmp_path / "file", 0
    for _ in range(12):
        kind = draw.choice([Kind.ITEMS, Kind.INTERACTIONS])
        rows = written(path, kind, drawn(draw, kind, model), draw)
        bad = model.check(kind, rows)
        for _ in range(2):  # the second time it changes nothing
            try:
                report = imports.run_import(
                    database, channel.id, kind, path, Format.CSV, sha256="", actor="me"
                ).to_dict()
            except ImportRejected as error:
                report = error.report
                rejected += 1
            inserted, updated = (0, 0) if bad else model.store(kind, [fields for _, fields in rows])
            assert report["errors"] == [{"line": line, "reason": reason} for line, reason in bad]
            found = (report["rows"], report["inserted"], report["updated"], report["unchanged"])
            unchanged = 0 if bad else len(rows) - inserted - updated
            assert found == (len(rows), inserted, updated, unchanged)
            assert_is(database, channel.id, model)
        if model.items and draw.random() < 0.3:
            ids = draw.sample(list(model.items), min(3, len(model.items)))
            with database.session() as s:
                catalog.delete_items(s, channel.id, ids)
            model.delete(ids)
    assert model.items and model.met
    assert rejected
