"""Rows out of files, good and bad."""

import gzip
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from app.core.errors import Invalid, TooLarge
from app.store.formats import Block, Columns, Format, read_blocks

COLUMNS = Columns(required=(("id",), ("text", "title")), extra=False)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "file"


def read_rows(path: Path, kind: Format, columns: Columns, **options: Any) -> Iterator[Any]:
    for part in read_blocks(path, kind, columns, **options):
        yield from part.lines() if isinstance(part, Block) else [part]


def rows(path: Path, kind: Format, content: bytes | None = None, **options: Any) -> list[Any]:
    if content is not None:
        path.write_bytes(content)
    return list(read_rows(path, kind, options.pop("columns", COLUMNS), **options))


def test_csv(path: Path) -> None:
    content = b'\xef\xbb\xbfid,text,more\r\n1,"a, ""b""\nc",x\r\n\r\n2,\xc3\xa4,y\r\n'
    assert rows(path, Format.CSV, content) == [
        (2, {"id": "1", "text": 'a, "b"\nc'}),
        (5, {"id": "2", "text": "ä"}),
    ]


def test_csv_with_all_columns(path: Path) -> None:
    columns = Columns(COLUMNS.required, extra=True)
    assert rows(path, Format.CSV, b"id,title,x\n1,a,b", columns=columns) == [
        (2, {"id": "1", "title": "a", "x": "b"})
    ]


def test_bad_csv_lines_do_not_stop_the_rest(path: Path) -> None:
    content = b'id,text\n1\n2,b,c\n\xff,d\n4,e\0\n5,"f"g\n6,' + b"x" * 200 + b"\n7,ok\n"
    found = rows(path, Format.CSV, content, max_line_bytes=100)
    assert found == [
        (2, "the line has 1 fields, the header has 2"),
        (3, "the line has 3 fields, the header has 2"),
        (4, "the line is not UTF-8 (byte 1)"),
        (5, "the line holds a NUL byte"),
        (6, "the line is not CSV: ',' expected after '\"'"),
        (7, "the line is longer than 100 bytes"),
        (8, {"id": "7", "text": "ok"}),
    ]


def test_open_quote_is_reported_and_bounded(path: Path) -> None:
    assert rows(path, Format.CSV, b'id,text\n1,a\n2,"b\n3,c\n')[1:] == [
        (3, "a quote is never closed, or a field is too long")
    ]
    found = rows(path, Format.CSV, b'id,text\n1,"b\n' + b"2,c\n" * 100_000)
    assert found[0] == (2, "a quote is never closed, or a field is too long")
    assert found[-1] == (100_002, {"id": "2", "text": "c"})


def test_a_row_of_many_lines_is_bounded(path: Path) -> None:
    found = rows(path, Format.CSV, b'id,text\n1,"' + b'x\n","' * 400_000)
    assert found[0] == (2, "a quote is never closed, or a field is too long")


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "is empty"),
        (b"\n", "is empty"),
        (b"id,other\n1,2\n", "no column 'text or title'; it has: id, other"),
        (b"id,text,id\n", "more than one column 'id'"),
        (b"id,\xff\n", "header cannot be read: the line is not UTF-8"),
        (b'id,"text\n1,a\n', "header cannot be read: a quote"),
        (b"PAR1\0\0", "NUL"),
    ],
)
def test_bad_csv_headers(path: Path, content: bytes, reason: str) -> None:
    with pytest.raises(Invalid, match=reason):
        rows(path, Format.CSV, content)


def test_jsonl(path: Path) -> None:
    content = (
        b'{"id": 1, "text": "\xc3\xa4"}\n\n[]\n{"id": \nnull\n{"id": NaN}\n\xff\n' + b"[" * 5000 + b"\n{}"
    )
    found = rows(path, Format.JSONL, content)
    assert [number for number, _ in found] == [1, 3, 4, 5, 6, 7, 8, 9]
    assert found[0] == (1, {"id": 1, "text": "ä"})
    assert found[1] == (3, "the line is not a JSON object")
    assert found[2][1].startswith("the line is not JSON: ")
    assert found[4][1] == "the line is not JSON: NaN is not a JSON number"
    assert found[5][1] == "the line is not UTF-8 (byte 1)"
    assert isinstance(found[6][1], str)
    assert found[7] == (9, {})


def test_empty_jsonl(path: Path) -> None:
    with pytest.raises(Invalid, match="is empty"):
        rows(path, Format.JSONL, b"\n\n")


def test_gzip(path: Path) -> None:
    packed = gzip.compress(b"id,text\n1,a\n")
    assert rows(path, Format.CSV, packed, gzipped=True) == [(2, {"id": "1", "text": "a"})]
    for broken in (packed[:-12], b"id,text\n1,a\n", packed[:12] + b"\xff" * 20):
        with pytest.raises(Invalid, match="not a whole gzip file"):
            rows(path, Format.CSV, broken, gzipped=True)


def test_gzip_bomb(path: Path) -> None:
    bomb = gzip.compress(b"0" * 5_000_000)
    with pytest.raises(TooLarge, match="unpacks to more than 1000000 bytes"):
        rows(path, Format.JSONL, bomb, gzipped=True, max_bytes=1_000_000)


def test_gzip_bomb_of_short_lines(path: Path) -> None:
    bomb = gzip.compress(b"\n" * 600_000)
    for kind in (Format.CSV, Format.JSONL):
        with pytest.raises(TooLarge, match="unpacks to more than 16777216 bytes"):
            rows(path, kind, b"id,text\n" * (kind is Format.CSV) + b"\n" * 600_000, max_bytes=16 * 1024**2)
    with pytest.raises(TooLarge, match="unpacks to more than 16777216 bytes"):
        rows(path, Format.JSONL, bomb, gzipped=True)
    with pytest.raises(TooLarge, match="unpacks to more than 1000 bytes"):
        rows(path, Format.JSONL, b"0" * 5000, max_line_bytes=10, max_bytes=1000)


def test_blocks_come_again_after_lines_that_are_none(path: Path) -> None:
    """A row of two lines, or an empty one, makes its own block slow and no other."""
    some = [f"{n},{'a' * 50}" for n in range(20_000)]
    some[100], some[10_000] = '100,"two\nlines"', ""
    path.write_text("id,text\n" + "\n".join(some))
    parts = list(read_blocks(path, Format.CSV, COLUMNS))
    lines = [part for part in parts if not isinstance(part, Block)]
    assert 4000 < len(lines) < 6000
    assert isinstance(parts[-1], Block)
    expected = [(n + 2 + (n > 100), {"id": f"{n}", "text": "a" * 50}) for n in range(20_000) if n != 10_000]
    expected[100] = (102, {"id": "100", "text": "two\nlines"})
    assert list(read_rows(path, Format.CSV, COLUMNS)) == expected


def test_limits_are_the_same_in_blocks(path: Path) -> None:
    """At the very byte, whether the last line has its end or not."""
    text = b"id,text\n1,aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\n2,b"
    for content, total in ((text, 32 + 44 + 32), (text + b"\n", 32 + 44 + 32)):
        assert len(rows(path, Format.CSV, content, max_bytes=total, max_line_bytes=44)) == 2
        with pytest.raises(TooLarge, match="unpacks to more"):
            rows(path, Format.CSV, content, max_bytes=total - 1)
        found = rows(path, Format.CSV, content, max_line_bytes=43)
        assert found == [(2, "the line is longer than 43 bytes"), (3, {"id": "2", "text": "b"})]


def test_many_bad_csv_lines_are_given_one_by_one(path: Path) -> None:
    path.write_bytes(b"id,text\n" + b"\0\n" * 200_000 + b"1,a\n")
    found = list(read_rows(path, Format.CSV, COLUMNS))
    assert found[0] == (2, "the line holds a NUL byte")
    assert found[-2:] == [(200_001, "the line holds a NUL byte"), (200_002, {"id": "1", "text": "a"})]


def repeated(text: str, count: int) -> pa.Array:
    return pa.DictionaryArray.from_arrays(pa.array([0] * count, pa.int32()), pa.array([text]))


@pytest.mark.parametrize("nested", [False, True])
def test_parquet_bomb(path: Path, nested: bool) -> None:
    texts = repeated("x" * 900_000, 2000)
    column = pa.ListArray.from_arrays(pa.array([0, 2000], pa.int32()), texts) if nested else texts
    count = len(column)
    pq.write_table(pa.table({"id": list(range(count)), "text": ["a"] * count, "more": column}), path)
    with pytest.raises(TooLarge, match="unpacks to more than 16777216 bytes"):
        rows(path, Format.PARQUET, columns=Columns(COLUMNS.required, extra=True))
    assert len(rows(path, Format.PARQUET)) == count


def test_parquet_refused_by_its_footer(path: Path) -> None:
    pq.write_table(pa.table({"id": [1] * 3_000_000, "text": repeated("a", 3_000_000)}), path)
    with pytest.raises(TooLarge, match="unpacks to more than"):
        next(read_rows(path, Format.PARQUET, COLUMNS))


def test_long_parquet_rows_are_bad(path: Path) -> None:
    texts = ["a", "b" * 2_000_000, None, "c"]
    tags = [["x"], None, [], ["y", None]]
    pq.write_table(pa.table({"id": [1, 2, 3, 4], "text": texts, "tags": tags}), path)
    assert rows(path, Format.PARQUET, columns=Columns(COLUMNS.required, extra=True)) == [
        (1, {"id": 1, "text": "a", "tags": ["x"]}),
        (2, "the row is longer than 1048576 bytes"),
        (3, {"id": 3, "text": None, "tags": []}),
        (4, {"id": 4, "text": "c", "tags": ["y", None]}),
    ]


def test_binary_parquet_columns_are_refused(path: Path) -> None:
    pq.write_table(pa.table({"id": ["1"], "text": pa.array([b"x" * 100], pa.binary(100))}), path)
    with pytest.raises(Invalid, match="'text' holds binary data"):
        rows(path, Format.PARQUET)


def test_parquet(path: Path) -> None:
    table = pa.table(
        {"id": list(range(4500)), "text": pa.array(["a"] * 4500).dictionary_encode(), "more": [1] * 4500}
    )
    pq.write_table(table, path)
    found = rows(path, Format.PARQUET)
    assert found[0] == (1, {"id": 0, "text": "a"})
    assert found[-1] == (4500, {"id": 4499, "text": "a"})


def test_parquet_nanoseconds(path: Path) -> None:
    moments = pa.array([1_700_000_000_123_456_789], pa.timestamp("ns"))
    pq.write_table(pa.table({"id": moments, "text": ["a"]}), path)
    assert rows(path, Format.PARQUET) == [
        (1, {"id": datetime(2023, 11, 14, 22, 13, 20, 123_456), "text": "a"})
    ]


def test_bad_parquet(path: Path) -> None:
    with pytest.raises(Invalid, match="not readable as Parquet"):
        rows(path, Format.PARQUET, b"id,text\n1,a\n")
    pq.write_table(pa.table({"id": ["a"]}), path)
    with pytest.raises(Invalid, match="no column 'text or title'"):
        rows(path, Format.PARQUET)
    with pytest.raises(Invalid, match="without gzip"):
        rows(path, Format.PARQUET, gzipped=True)
    pq.write_table(pa.table({"id": ["a"] * 1000, "text": ["b"] * 1000}), path)
    whole = path.read_bytes()
    with pytest.raises(Invalid):
        rows(path, Format.PARQUET, whole[: len(whole) // 2])
