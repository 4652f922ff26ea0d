"""Two servers on one database: promotes at once, and swaps under load."""

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from app.model.backbone import Backbone
from tests.app.api.conftest import Shop, is_problem, serves
from tests.fakes import adapter_bytes
from tests.faults.conftest import ADMIN, BOOKS, Recovery, World, there
from tests.servers import wait_for

PROMOTE = f"{ADMIN}/releases/promote"
ASK = {"history": ["i01", "i02", "i03"], "count": 10}
ROUNDS = [1, 2, 0, 2, 1, 0]


@pytest.fixture(autouse=True)
def adapters(shop: Shop, backbone: Backbone) -> None:
    """Versions 1 and 2, which rank differently."""
    for seed in (1, 2):
        made = shop.operator.post(f"{ADMIN}/adapters", content=adapter_bytes(backbone, seed))
        assert made.status_code == 201, made.text


def test_two_operators_promote_at_once(world: World, shop: Shop) -> None:
    with there(world.b.url, shop.operator) as other, ThreadPoolExecutor(2) as pool:
        current = 0
        for target in ROUNDS:
            barrier = threading.Barrier(2)

            def promote(
                by: httpx.Client, barrier: threading.Barrier = barrier, body: object = None
            ) -> httpx.Response:
                barrier.wait()
                return by.post(PROMOTE, json=body)

            body = {"version": target, "expected_current": current}
            answers = list(pool.map(lambda by, body=body: promote(by, body=body), (shop.operator, other)))
            won, lost = sorted(answers, key=lambda answer: answer.status_code)
            assert won.status_code == 200, won.text
            assert is_problem(lost, 409)
            assert lost.json()["current"] == target
            current = target
    moves = shop.operator.get(f"{ADMIN}/releases/history").json()
    assert [move["to_version"] for move in moves] == ROUNDS


def load_until(done: threading.Event, reader: httpx.Client, answers: list[httpx.Response]) -> None:
    with httpx.Client(base_url=reader.base_url, headers=reader.headers, timeout=30) as mine:
        while not done.is_set():
            answers.append(mine.post(f"{BOOKS}/recommendations", json=ASK))


def test_swaps_under_load(world: World, shop: Shop, recovery: Recovery) -> None:
    with there(world.b.url, shop.reader) as other, there(world.b.url, shop.operator) as second:
        readers, operators = (shop.reader, other), (shop.operator, second)

        def swap(to: int, by: httpx.Client) -> None:
            assert by.post(PROMOTE, json={"version": to}).status_code == 200
            wait_for(lambda: all(serves(reader, to) for reader in readers))

        alone: dict[int, list[Any]] = {}
        for version in (1, 2, 0):
            swap(version, shop.operator)
            alone[version] = shop.reader.post(f"{BOOKS}/recommendations", json=ASK).json()["items"]
        assert len({str([i["item_id"] for i in items]) for items in alone.values()}) == 3
        done, answers = threading.Event(), list[httpx.Response]()
        threads = [threading.Thread(target=load_until, args=(done, r, answers)) for r in readers * 2]
        for thread in threads:
            thread.start()
        try:
            with recovery(f"{len(ROUNDS)} swaps under load, until both servers are on the last"):
                for number, version in enumerate(ROUNDS):
                    swap(version, operators[number % 2])
        finally:
            done.set()
            for thread in threads:
                thread.join()
    assert {answer.status_code for answer in answers} == {200}
    assert {answer.json()["release"]["version"] for answer in answers} == {0, 1, 2}
    for answer in answers:
        expected = alone[answer.json()["release"]["version"]]
        found = answer.json()["items"]
        assert [item["item_id"] for item in found] == [item["item_id"] for item in expected]
        # The last bits depend on what else is in the batch.
        assert [i["score"] for i in found] == pytest.approx([i["score"] for i in expected], abs=1e-4)
