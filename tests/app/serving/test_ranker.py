"""The model in its own process."""

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from app.core.config import Settings
from app.core.errors import Unavailable
from app.model.backbone import Backbone
from app.model.bank import Bank
from app.serving import ranker as module
from app.serving.build import Builder
from app.serving.rank import Query, rank
from app.serving.ranker import Ranker
from app.serving.release import open_bundle
from app.store.db import Database
from app.store.tables import Channel
from tests.app.serving.conftest import add_adapter
from tests.fakes import adapter_bytes


@pytest.fixture
def ranker(backbone_folder: Path) -> Iterator[Ranker]:
    settings = Settings(backbone=str(backbone_folder), device="cpu")
    started = Ranker("text", str(backbone_folder), settings)
    started.start()
    yield started
    started.stop()


@pytest.fixture
def queries(sqlite: Database, backbone: Backbone, channel: Channel, builder: Builder) -> list[Query]:
    bare = builder.build(channel.id).folder
    add_adapter(sqlite, channel, backbone, adapter_bytes(backbone, 1))
    adapted = builder.build(channel.id).folder
    return [
        Query(bare, [1, 2, 3], 5, {1, 2, 3}),
        Query(adapted, [1, 2, 3], 40, set()),
        Query(adapted, [7], 3, {0}),
        Query(bare, list(range(40)), 10, set(range(40))),  # nothing is left
        Query(bare, [4], 9, {0}, '{"n":{"lt":8}}'),
        Query(adapted, [4], 9, {4}, at_most=(("n", 1),)),
    ]


def process_of(ranker: Ranker) -> int:
    assert ranker._process is not None
    return ranker._process.pid


def wait_until_back(ranker: Ranker, queries: list[Query]) -> object:
    end = time.monotonic() + 60
    while True:
        try:
            return ranker.rank(queries)
        except Unavailable:
            assert time.monotonic() < end
            time.sleep(0.1)


def test_answers_as_in_this_process(ranker: Ranker, queries: list[Query], backbone: Backbone) -> None:
    there = ranker.rank(queries)
    here = rank(Bank(backbone.model, "user", 2**20), 20, open_bundle, queries)
    for one, other in zip(there, here, strict=True):
        assert [row for row, _ in one] == [row for row, _ in other]
        assert [score for _, score in one] == pytest.approx([score for _, score in other], abs=1e-5)
    assert [len(answer) for answer in there] == [5, 40, 3, 0, 7, 9]
    ranker.rank(queries)
    assert ranker.stats["device"]["misses"] == 1
    assert ranker.stats["device"]["hits"] >= 1
    assert ranker.stats["host"]["releases"] == 2


def test_a_killed_process_is_replaced(ranker: Ranker, queries: list[Query]) -> None:
    before = ranker.rank(queries)
    os.kill(process_of(ranker), signal.SIGKILL)
    with pytest.raises(Unavailable, match="try again"):
        ranker.rank(queries)
    assert wait_until_back(ranker, queries) == before


def test_a_hanging_process_is_replaced(
    ranker: Ranker, queries: list[Query], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "HANGS_SECONDS", 0.5)
    before, hanging = ranker.rank(queries), process_of(ranker)
    os.kill(hanging, signal.SIGSTOP)
    with pytest.raises(Unavailable):
        ranker.rank(queries)
    monkeypatch.setattr(module, "HANGS_SECONDS", 30)
    assert wait_until_back(ranker, queries) == before
    assert process_of(ranker) != hanging


def test_a_folder_that_has_gone_fails_its_query_alone(
    ranker: Ranker, queries: list[Query], tmp_path: Path
) -> None:
    with pytest.raises(Unavailable, match="release"):
        ranker.rank([*queries, Query(tmp_path / "gone", [1], 5, set())])
    assert len(ranker.rank(queries)) == len(queries)  # the process goes on


def test_it_ends_with_its_server(ranker: Ranker) -> None:
    process = ranker._process
    assert process is not None
    ranker.stop()
    assert process.poll() == 0
