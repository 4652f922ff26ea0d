"""Blocks say the same as their lines one by one, which is what `take` of nothing makes of a file."""

import gzip
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from app.store import lines
from app.store.formats import Block, Columns, Format, Line, read_blocks
from app.store.import_rows import interactions, items
from app.store.lines import Lines

ITEMS = Columns((("item_id",), ("text", "title")), extra=True)
INTERACTIONS = Columns((("user_id",), ("item_id",), ("timestamp",)), extra=False)
Read = Callable[[Iterator[Block | Line]], Iterator[tuple[int, Any]]]

IDS = [
    "a",
    "b1",
    "ü",
    " a",
    "a ",
    "",
    "x" * 128,
    "x" * 129,
    "\u2003a",
    '"q,uoted"',
    '"a""b"',
    "5",
    "\U0001f600",
]
TIMES = [
    "1", "1700000000", "1700000000000", " 17", "1_0", "-1", "soon", "", "1.5", "1e3", "2023-11-14T22:13:20Z",
    "4102444800", "4102444800000", "100000000000", "100000000001", "٣", "9" * 5000,
]  # fmt: skip
TEXTS = ["thing", " ", "", "x" * 10_000, "x" * 10_001, '"two\nlines"', '"a, b"', "tab\there"]
OTHERS = [
    "",
    "red",
    "y" * 20_000,
    "é" * 17_000,
    "\x01" * 16_000,
    "\U0001f600" * 9_000,
    "\\u0000",
    "\\ud800",
    '"1"',
]


def read(path: Path, content: str, columns: Columns, rows_of: Read, packed: bool = False) -> list[Any]:
    data = content.encode()
    path.write_bytes(gzip.compress(data) if packed else data)
    return list(rows_of(read_blocks(path, Format.CSV, columns, gzipped=packed)))


def assert_same(path: Path, text: str, columns: Columns, rows_of: Read) -> None:
    fast = read(path, text, columns, rows_of)
    assert read(path, text, columns, rows_of, packed=True) == fast
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Lines, "take", lambda *_: None)
        assert read(path, text, columns, rows_of) == fast


@pytest.mark.parametrize("value", TIMES)
def test_each_timestamp(tmp_path: Path, value: str) -> None:
    header = "user_id,item_id,timestamp"
    assert_same(tmp_path / "f", f"{header}\nu,i,{value}\n", INTERACTIONS, interactions)
    assert_same(tmp_path / "f", f"{header}\nu,i,7\nu,i,{value}\r\n", INTERACTIONS, interactions)


@pytest.mark.parametrize("value", IDS)
def test_each_id(tmp_path: Path, value: str) -> None:
    header = "timestamp,item_id,more,user_id"
    assert_same(tmp_path / "f", f"{header}\n1,i,x,{value}\n1,{value},x,u", INTERACTIONS, interactions)
    assert_same(tmp_path / "f", f"item_id,text\n{value},thing\n", ITEMS, items)


@pytest.mark.parametrize("text", TEXTS)
@pytest.mark.parametrize("other", OTHERS)
def test_each_text(tmp_path: Path, text: str, other: str) -> None:
    for header in ("item_id,text,title", "item_id,title,colour", "colour,title,item_id"):
        body = f"a,{text},{other}\n" if header.startswith("item_id") else f"{other},{text},a\n"
        assert_same(tmp_path / "f", f"{header}\n{body}", ITEMS, items)


@pytest.mark.parametrize("seed", range(20))
def test_any_mixture(tmp_path: Path, seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks of a few lines, so that what is odd lies in the first, in a later one, and across two."""
    monkeypatch.setattr(lines, "_BLOCK_BYTES", 64)
    draw = random.Random(seed)
    good = [f"u{n},i{n},{1000 + n}" for n in range(draw.randrange(40))]
    odd = [
        "",
        "\r",
        "u,i",
        "u,i,1,2",
        "u,i,\r1",
        'u,"i,1',
        '"u\n2",i,1',
        "u,i\0,1",
        ",i,1",
        "u,i,x",
        '"u",i,"5"',
    ]
    body = good + draw.choices(odd, k=draw.randrange(4))
    draw.shuffle(body)
    text = draw.choice(["\n", "\r\n"]).join(body) + draw.choice(["", "\n", "\n\n"])
    assert_same(tmp_path / "f", f"user_id,item_id,timestamp\n{text}", INTERACTIONS, interactions)


def test_most_lines_come_in_blocks(tmp_path: Path) -> None:
    """Else all of the above compares the slow way with itself."""
    path = tmp_path / "f"
    body = "".join(f'u{n},"i,{n}",{n}\n' for n in range(20_000))
    path.write_text(f"user_id,item_id,timestamp\n{body}")
    parts = list(read_blocks(path, Format.CSV, INTERACTIONS))
    assert all(isinstance(part, Block) for part in parts)
    assert 1 < len(parts) < 20
    found = list(interactions(iter(parts)))
    assert found[0] == (2, ("u0", "i,0", 0))
    assert found[-1] == (20_001, ("u19999", "i,19999", 19_999_000))


def test_a_bad_line_far_down_has_its_number(tmp_path: Path) -> None:
    rows = [f"u{n},i,{n}" for n in range(30_000)]
    rows[25_000] = "u,i,soon"
    rows[29_000] = "\xff"
    path = tmp_path / "f"
    path.write_bytes("\n".join(["user_id,item_id,timestamp", *rows]).encode("latin-1"))
    found = list(interactions(read_blocks(path, Format.CSV, INTERACTIONS)))
    assert [number for number, _ in found] == list(range(2, 30_002))
    bad = {number: row for number, row in found if isinstance(row, str)}
    assert list(bad) == [25_002, 29_002]
    assert bad[29_002] == "the line is not UTF-8 (byte 1)"
