"""Uploads that lie about what they hold: refused, and the server's memory stays flat."""

import io
import json
import random
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from safetensors.torch import load

from app.model.backbone import Backbone
from tests.app.api.conftest import Shop, is_problem
from tests.fakes import adapter_bytes
from tests.faults.conftest import ADMIN, BOOKS, World, interactions

MB = 1024**2
FTA = json.dumps({"method": "fta"})
A = "user/L00/mha/down.weight"
B = "user/L00/mha/up.weight"


def memory_of(pid: int, field: str) -> int:
    """Bytes of a process: VmRSS now, VmHWM at its highest."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(field)).split()[1]) * 1024


@contextmanager
def flat_memory(pid: int, limit: int) -> Iterator[None]:
    """The process never needs `limit` bytes more than before."""
    before = memory_of(pid, "VmRSS")
    Path(f"/proc/{pid}/clear_refs").write_text("5")  # the highest is counted from here
    yield
    assert memory_of(pid, "VmHWM") - before < limit


def parts(data: bytes) -> tuple[dict[str, Any], bytes]:
    """A safetensors file's header and tensors."""
    end = 8 + int.from_bytes(data[:8], "little")
    header: dict[str, Any] = json.loads(data[8:end])
    return header, data[end:]


def file_of(header: object, tensors: bytes) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + tensors


def lies(good: bytes) -> dict[str, bytes]:
    """Files that are refused, by what they lie about."""
    header, tensors = parts(good)
    size = len(tensors)

    def changed(**entries: object) -> bytes:
        return file_of({**header, **{A: header[A] | entries}}, tensors)

    method = {**header, "__metadata__": header["__metadata__"] | {"method": "fta", "config": FTA}}
    begin, end = header[B]["data_offsets"]
    return {
        "nothing but a length": (0).to_bytes(8, "little"),
        "a length beyond the file": (len(good)).to_bytes(8, "little") + good[8:],
        "the greatest length": b"\xff" * 8 + good[8:],
        "no header": file_of(b"", tensors),
        "half a header": good[: len(good) - size - 5],
        "half the tensors": good[: -size // 2],
        "a list for a header": file_of([], tensors),
        "a deep header": file_of(b"[" * 500_000, tensors),
        "a header of megabytes": file_of({f"t{n}": header[A] for n in range(20_000)}, tensors),
        "text in place of metadata": file_of({**header, "__metadata__": "x"}, tensors),
        "numbers in the metadata": file_of(
            {**header, "__metadata__": dict.fromkeys(header["__metadata__"], 1)}, tensors
        ),
        "a huge shape": changed(shape=[2**40, 2**20]),
        "a shape beyond 64 bits": changed(shape=[2**70]),
        "a negative shape": changed(shape=[-4, -32]),
        "a shape of many sides": changed(shape=[1] * 50_000),
        "no shape": changed(shape=None),
        "negative offsets": changed(data_offsets=[-8, 0]),
        "offsets that go back": changed(data_offsets=[end, begin]),
        "offsets of another tensor": changed(data_offsets=[begin, end]),
        "offsets beyond the file": changed(data_offsets=[size, size + 512]),
        "an unknown type": changed(dtype="F1"),
        "a tensor twice as wide": changed(dtype="F64"),
        "a whole model": file_of(method, tensors),
        "no tensor at all": file_of({"__metadata__": header["__metadata__"]}, b""),
    }


def test_adapters_that_lie(world: World, shop: Shop, backbone: Backbone) -> None:
    good = adapter_bytes(backbone, 1)
    assert {A, B} <= load(good).keys()
    with flat_memory(world.a.pid, 100 * MB):
        for lie, data in lies(good).items():
            answer = shop.operator.post(f"{ADMIN}/adapters", content=data)
            assert is_problem(answer, 422), lie
            assert len(answer.text) < 2000, lie
    assert shop.operator.get(f"{ADMIN}/adapters").json() == []
    assert shop.operator.post(f"{ADMIN}/adapters", content=good).status_code == 201


def parquet(**columns: list[object]) -> bytes:
    out = io.BytesIO()
    pq.write_table(pa.table(columns), out)
    return out.getvalue()


def imports(shop: Shop, data: bytes) -> int:
    answer = shop.writer.post(f"{BOOKS}/imports?kind=interactions&format=parquet", content=data)
    assert answer.status_code == 201 or is_problem(answer, answer.status_code)
    return answer.status_code


@pytest.mark.parametrize(
    "columns",
    [
        {"user_id": [["u"]], "item_id": ["i01"], "timestamp": [1]},
        {"user_id": [{"a": "u"}], "item_id": ["i01"], "timestamp": [1]},
        {"user_id": [1.5], "item_id": ["i01"], "timestamp": [1]},
        {"user_id": [b"\xff\xfe"], "item_id": ["i01"], "timestamp": [1]},
        {"user_id": ["u"], "item_id": ["i01"], "timestamp": [True]},
        {"user_id": ["u"], "item_id": [None], "timestamp": [1]},
        {"user": ["u"], "item_id": ["i01"], "timestamp": [1]},
    ],
)
def test_parquet_with_a_wrong_schema(shop: Shop, columns: dict[str, list[object]]) -> None:
    before = interactions(shop.reader)
    assert imports(shop, parquet(**columns)) == 422
    assert interactions(shop.reader) == before


def test_parquet_whose_metadata_lie(world: World, shop: Shop) -> None:
    rows = range(300)
    whole = parquet(user_id=[f"u{n}" for n in rows], item_id=["i01"] * 300, timestamp=[*rows])
    footer, chance = int.from_bytes(whole[-8:-4], "little"), random.Random(0)
    with flat_memory(world.a.pid, 300 * MB):
        for _ in range(200):
            data = bytearray(whole)
            for _ in range(chance.randint(1, 4)):  # in the footer or in the headers of the pages
                place = chance.choice(
                    (chance.randrange(len(data) - 8 - footer, len(data)), chance.randrange(80))
                )
                data[place] = chance.choice((0, 1, 0x7F, 0x80, 0xFF, chance.randrange(256)))
            assert imports(shop, bytes(data)) in (201, 413, 422)
        for claimed in (0, footer + 1, len(whole), 2**31 - 1, 2**32 - 1):
            assert imports(shop, whole[:-8] + claimed.to_bytes(4, "little") + whole[-4:]) == 422
