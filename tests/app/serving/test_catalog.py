"""A release's items on disk."""

import json
from pathlib import Path

import numpy as np
import pytest

from app.core.errors import Invalid
from app.serving.catalog import IDS, ITEMS, Catalog, Entry, write_catalog
from app.store.catalog import ItemRow

NONE = np.empty(0, np.int64)


def entry(item_id: str, text: str = "a thing") -> Entry:
    return Entry.of(ItemRow(item_id, text, {"colour": "red"}), bytes(15) + bytes([len(text)]))


def written(
    folder: Path, ids: list[str], before: Catalog | None = None, kept: list[int] | None = None
) -> Catalog:
    folder.mkdir()
    write_catalog(folder, [entry(i) for i in ids], before, np.array(kept or [], np.int64))
    return Catalog(folder)


def test_ids_and_rows(tmp_path: Path) -> None:
    ids = ["b", "a", "ß/ü?#", "x" * 128, "\U0001f600" * 128, "\U0001f600" * 127]
    found = written(tmp_path / "a", ids)
    assert [found.item_id(row) for row in range(found.size)] == ids
    assert found.rows([*reversed(ids), "nowhere", ""]) == [5, 4, 3, 2, 1, 0, None, None]
    assert json.loads(found.json(2)) == {"item_id": "ß/ü?#", "metadata": {"colour": "red", "text": "a thing"}}
    assert found.metadata(0) == {"colour": "red", "text": "a thing"}


def test_an_attribute_does_not_hide_the_text() -> None:
    shown = json.loads(Entry.of(ItemRow("a", "real", {"text": "false", "n": 2**70}), bytes(16)).json)
    assert shown["metadata"] == {"text": "real", "n": 2**70}


def test_no_items(tmp_path: Path) -> None:
    empty = written(tmp_path / "a", [])
    assert (empty.size, empty.rows(["a"])) == (0, [None])
    assert written(tmp_path / "b", ["a"], empty).item_id(0) == "a"


def test_changes_keep_what_stays(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    ids = [f"i{n}" for n in range(200)]
    catalog = written(tmp_path / "0", ids)
    for turn in range(1, 8):
        kept = [n for n in range(len(ids)) if generator.random() < 0.8]
        new = [f"new{turn}-{n}" * 3 for n in range(int(generator.integers(0, 5)))]
        catalog = written(tmp_path / str(turn), new, catalog, kept)
        ids = [ids[n] for n in kept] + new
        assert [catalog.item_id(row) for row in range(catalog.size)] == ids
        assert catalog.rows(ids) == list(range(len(ids)))
        assert [json.loads(catalog.json(row))["item_id"] for row in range(len(ids))] == ids
        assert len(catalog.digests) == len(ids)


@pytest.mark.parametrize("name", [ITEMS, IDS])
@pytest.mark.parametrize("damage", [b"", b"nonsense" * 9, None])
def test_damage_is_told(tmp_path: Path, name: str, damage: bytes | None) -> None:
    written(tmp_path / "a", ["a", "b"])
    path = tmp_path / "a" / name
    path.unlink()
    if damage is not None:
        path.write_bytes(damage)
    with pytest.raises(Invalid, match="built again"):
        Catalog(tmp_path / "a")
