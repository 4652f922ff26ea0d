"""Swaps while requests come in, in every process on the database."""

import threading
from typing import Any

import httpx
import numpy as np
import pytest
import torch

from app.model import adapters
from app.model.backbone import Backbone
from app.model.encode import encode_histories, encode_items, popularity_bias, prior_of
from app.model.methods import AdapterConfig
from tests.app.api.conftest import Shop, client, serves, wait_for
from tests.fakes import SMALL, adapter_bytes, adapter_weights

ADMIN = "/v1/admin/channels/books"
TEXTS = [f"thing {n} of kind {n % 5}" for n in range(30)]
COUNTS = np.array([3] * 4 + [2] * 6 + [0] * 20)  # interactions in the shop of the fixture
SWAPS = [1, 2, 0, 2, 1, 0, 1, 2]


def offline(backbone: Backbone, seed: int | None, config: AdapterConfig = SMALL) -> list[str]:
    """The best 10 after [i1, i2], computed without the service."""
    model = backbone.model
    if seed is not None:
        model = adapters.load(model, config, adapter_weights(backbone, seed, config))
    vectors = torch.from_numpy(encode_items(model, backbone.inputs(TEXTS)))
    scores = vectors @ torch.from_numpy(encode_histories(model, vectors, [[1, 2]])[0])
    scores += torch.from_numpy(popularity_bias(prior_of(model), COUNTS))
    scores[[1, 2]] = -torch.inf
    return [f"i{row}" for row in scores.argsort(descending=True)[:10].tolist()]


def load_until(done: threading.Event, reader: httpx.Client, answers: list[httpx.Response]) -> None:
    body = {"history": ["i1", "i2"], "count": 10}
    with httpx.Client(base_url=reader.base_url, headers=reader.headers, timeout=30) as mine:
        while not done.is_set():
            answers.append(mine.post("/v1/channels/books/recommendations", json=body))


def test_swaps_under_load(shop: Shop, backbone: tuple[str, Backbone]) -> None:
    expected = {0: offline(backbone[1], None), 1: offline(backbone[1], 1), 2: offline(backbone[1], 2)}
    assert len({tuple(order) for order in expected.values()}) == 3  # one can be told from another
    for seed in (1, 2):
        shop.operator.post(f"{ADMIN}/adapters", content=adapter_bytes(backbone[1], seed))
    done, answers = threading.Event(), list[httpx.Response]()
    threads = [threading.Thread(target=load_until, args=(done, shop.reader, answers)) for _ in range(4)]
    for thread in threads:
        thread.start()
    try:
        for version in SWAPS:
            shop.operator.post(f"{ADMIN}/releases/promote", json={"version": version})
            wait_for(lambda version=version: serves(shop.reader, version))  # type: ignore[misc]
    finally:
        done.set()
        for thread in threads:
            thread.join()
    assert {answer.status_code for answer in answers} == {200}
    by_release: dict[str, list[Any]] = {}
    for answer in answers:
        body = answer.json()
        assert [item["item_id"] for item in body["items"]] == expected[body["release"]["version"]]
        by_release.setdefault(body["release"]["digest"], []).append(body["items"])
    assert {answer.json()["release"]["version"] for answer in answers} == {0, 1, 2}
    # The digest names everything that ranks: the same digest, the same answer, but for the last bits of the
    # scores, which depend on what else is in the batch.
    for same in by_release.values():
        first = [pytest.approx(item["score"], abs=1e-4) for item in same[0]]
        assert all([item["score"] for item in found] == first for found in same)


def test_a_swap_reaches_every_process(shop: Shop, backbone: tuple[str, Backbone], second: str) -> None:
    shop.operator.post(f"{ADMIN}/adapters", content=adapter_bytes(backbone[1], 1))
    shop.operator.post(f"{ADMIN}/releases/promote", json={"version": 1})
    key = shop.reader.headers["authorization"].removeprefix("Bearer ")
    with client(second, key) as there:
        wait_for(lambda: serves(there, 1))
        body = {"history": ["i1", "i2"]}
        found = there.post("/v1/channels/books/recommendations", json=body).json()["items"]
    assert [item["item_id"] for item in found] == offline(backbone[1], 1)
