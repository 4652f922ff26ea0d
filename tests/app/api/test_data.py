"""Imports, items and recommendations."""

import gzip
import socket
import tempfile
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.app.api.conftest import Server, Shop, is_problem, send, serves, spare_file, wait_for

BOOKS = "/v1/channels/books"


def recommend(reader: httpx.Client, **body: object) -> dict[str, Any]:
    answer = reader.post(f"{BOOKS}/recommendations", json=body)
    assert answer.status_code == 200, answer.text
    return answer.json()  # type: ignore[no-any-return]


def test_recommendations(shop: Shop) -> None:
    answer = recommend(shop.reader, user_id="u0", count=20, exclude_item_ids=["i29"])
    ids = [item["item_id"] for item in answer["items"]]
    seen = {f"i{n % 10}" for n in range(0, 24, 3)}
    assert len(set(ids)) == 20
    assert not set(ids) & {*seen, "i29"}
    assert {item["reason"] for item in answer["items"]} == {"model"}
    metadata = next(item["metadata"] for item in answer["items"] if item["item_id"] == ids[0])
    assert set(metadata) == {"text", "colour"}
    assert answer["variant"] == "champion"
    assert str(answer["recommendation_id"]).startswith("rec_")
    with_seen = recommend(shop.reader, user_id="u0", count=30, exclude_seen=False)
    assert len(with_seen["items"]) == 30
    cold = recommend(shop.reader, user_id="nobody", count=30)
    assert len(cold["items"]) == 30
    assert {item["reason"] for item in cold["items"]} == {"cold_start"}
    assert cold["items"][0]["score"] == 3


def test_items(shop: Shop) -> None:
    item = shop.reader.get(f"{BOOKS}/items/i1").json()
    assert item == {"item_id": "i1", "text": "thing 1 of kind 1", "attributes": {"colour": "c1"}}
    found = shop.reader.get(f"{BOOKS}/items/i1/similar?count=5").json()
    assert len(found["items"]) == 5
    assert "i1" not in [similar["item_id"] for similar in found["items"]]


def test_ids_with_a_slash(shop: Shop) -> None:
    send(shop.writer, "items", "item_id,text\na/b,a thing with a slash\n")
    wait_for(lambda: serves(shop.reader, 0, 3))
    for path in ("a%2Fb", "a/b"):
        assert shop.reader.get(f"{BOOKS}/items/{path}").json()["item_id"] == "a/b"
        assert len(shop.reader.get(f"{BOOKS}/items/{path}/similar?count=5").json()["items"]) == 5
    assert is_problem(shop.reader.get(f"{BOOKS}/items/a%2Fc"), 404)


def test_deep_attributes_are_refused(shop: Shop) -> None:
    line = '{"item_id": "deep", "text": "x", "more": ' + "[" * 260 + "]" * 260 + "}"
    answer = shop.writer.post(f"{BOOKS}/imports?kind=items&format=jsonl", content=line.encode())
    assert is_problem(answer, 422)
    assert "deeper than 32" in answer.json()["report"]["errors"][0]["reason"]


@pytest.mark.parametrize(
    "body",
    [
        r'{"user_id": "\ud800"}',
        r'{"history": ["\ud800"]}',
        r'{"user_id": "u0", "exclude_item_ids": ["\ud800"]}',
    ],
)
def test_half_a_surrogate_pair_is_refused(shop: Shop, body: str) -> None:
    headers = {"content-type": "application/json"}
    answer = shop.reader.post(f"{BOOKS}/recommendations", content=body, headers=headers)
    assert is_problem(answer, 422)
    assert "hex escape" in answer.json()["detail"]


def test_a_new_item_is_recommended(shop: Shop) -> None:
    send(shop.writer, "items", "item_id,text\nfresh,a fresh thing\n")
    wait_for(lambda: serves(shop.reader, 0, 3))
    ids = [item["item_id"] for item in recommend(shop.reader, history=["fresh"], count=31)["items"]]
    assert len(ids) == 30
    assert "fresh" not in ids


def test_bad_lines_are_listed(shop: Shop) -> None:
    lines = "item_id,text\ngood,fine\n,no id\nbad,\n"
    answer = shop.writer.post(f"{BOOKS}/imports?kind=items&format=csv", content=lines.encode())
    assert is_problem(answer, 422)
    report = answer.json()["report"]
    assert [error["line"] for error in report["errors"]] == [3, 4]
    assert is_problem(shop.reader.get(f"{BOOKS}/items/good"), 404)
    stored = shop.reader.get(f"{BOOKS}/imports").json()[0]
    assert stored["import_id"] == report["import_id"]
    assert stored["status"] == "REJECTED"
    one = shop.reader.get(f"{BOOKS}/imports/{report['import_id']}").json()
    assert one["errors"] == report["errors"]


def test_formats(shop: Shop) -> None:
    jsonl = gzip.compress(b'{"item_id": "j", "text": "from json"}\n')
    headers = {"content-type": "application/x-ndjson", "content-encoding": "gzip"}
    answer = shop.writer.post(f"{BOOKS}/imports?kind=items", content=jsonl, headers=headers)
    assert answer.json()["inserted"] == 1
    again = shop.writer.post(f"{BOOKS}/imports?kind=items", content=jsonl, headers=headers)
    assert (again.json()["inserted"], again.json()["unchanged"]) == (0, 1)
    assert is_problem(shop.writer.post(f"{BOOKS}/imports?kind=items", content=b"x"), 422)
    assert is_problem(shop.writer.post(f"{BOOKS}/imports?kind=items&format=csv", content=b""), 422)
    assert is_problem(shop.writer.post(f"{BOOKS}/imports?kind=pictures", content=b"x"), 422)


def test_too_large(shop: Shop) -> None:
    rows = b"item_id,text\n" + b"a,b\n" * 40_000
    assert is_problem(shop.writer.post(f"{BOOKS}/imports?kind=items&format=csv", content=rows), 413)
    headers = {"content-encoding": "gzip"}
    bomb = shop.writer.post(
        f"{BOOKS}/imports?kind=items&format=csv", content=gzip.compress(rows), headers=headers
    )
    assert is_problem(bomb, 413)


def test_a_disconnect_leaves_nothing(server: Server, shop: Shop) -> None:
    before = len(shop.reader.get(f"{BOOKS}/imports").json())
    url = httpx.URL(server.url)
    head = (
        f"POST {BOOKS}/imports?kind=items&format=csv HTTP/1.1\r\nHost: x\r\nContent-Length: 5000\r\n"
        f"Authorization: {shop.writer.headers['authorization']}\r\n\r\nitem_id,text\nhalf,way\n"
    )
    with socket.create_connection((url.host, url.port or 80)) as connection:
        connection.sendall(head.encode())
        wait_for(lambda: spare_file(Path(tempfile.gettempdir())))
    wait_for(lambda: not spare_file(Path(tempfile.gettempdir())))
    assert len(shop.reader.get(f"{BOOKS}/imports").json()) == before
    assert is_problem(shop.reader.get(f"{BOOKS}/items/half"), 404)
