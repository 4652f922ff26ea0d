"""What a release answers."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch

from app.core.errors import NotFound
from app.model.backbone import Backbone
from app.model.bank import Bank
from app.model.encode import encode_histories
from app.serving.build import Builder
from app.serving.rank import MANY, Query, Ranked, rank
from app.serving.recommend import popular, query_of, similar
from app.serving.release import Bundle, open_bundle
from app.store import channels, tenants
from app.store.catalog import ItemRow, upsert_items
from app.store.db import Database
from app.store.tables import Channel
from tests.app.serving.conftest import add_adapter
from tests.fakes import adapter_bytes


@pytest.fixture
def bundle(builder: Builder, channel: Channel) -> Bundle:
    return open_bundle(builder.build(channel.id).folder)


@pytest.fixture
def bank(backbone: Backbone) -> Bank:
    return Bank(backbone.model, "user", 2**20)


def ask(bank: Bank, query: Query) -> Ranked:
    return rank(bank, 20, open_bundle, [query])[0]


def ids_of(bundle: Bundle, found: Ranked) -> list[str]:
    return [bundle.catalog.item_id(row) for row, _ in found]


def test_ranks_as_the_model_does(bundle: Bundle, bank: Bank, backbone: Backbone) -> None:
    vectors = torch.from_numpy(bundle.vectors.copy())
    user = encode_histories(backbone.model, vectors, [[1, 2]])[0]
    order = np.argsort(-(bundle.vectors @ user), kind="stable").tolist()
    found = ask(bank, query_of(bundle, ["i1", "i2"], 40, exclude_seen=False))
    assert [row for row, _ in found] == order
    assert [score for _, score in found] == pytest.approx((bundle.vectors @ user)[order].tolist(), abs=1e-5)


def test_always_filled(bundle: Bundle, bank: Bank) -> None:
    history = [f"i{n}" for n in range(25)]
    found = ask(bank, query_of(bundle, history, 10, exclude_ids=["i30", "i31", "nowhere"]))
    ids = ids_of(bundle, found)
    assert len(set(ids)) == 10
    assert not set(ids) & {*history, "i30", "i31"}
    assert all(math.isfinite(score) for _, score in found)
    assert len(ask(bank, query_of(bundle, history, 100))) == 15
    everything = [f"i{n}" for n in range(40)]
    assert ask(bank, query_of(bundle, everything, 5)) == []


def test_of_many_exclusions_the_index_is_told(sqlite: Database, builder: Builder, bank: Bank) -> None:
    with sqlite.session() as s:
        tenant = tenants.create_tenant(s, "many")
        channel = channels.create_channel(s, tenant.id, "many", "", "")
        upsert_items(s, channel.id, [ItemRow(f"i{n}", f"thing {n}") for n in range(MANY + 30)])
    bundle = open_bundle(builder.build(channel.id).folder)
    seen = [f"i{n}" for n in range(MANY + 10)]
    few, many = query_of(bundle, seen[:5], 10), query_of(bundle, seen, 100)
    answers = rank(bank, 20, open_bundle, [few, many, few])
    assert set(ids_of(bundle, answers[1])) == {f"i{n}" for n in range(MANY + 10, MANY + 30)}
    assert answers[0] == answers[2]
    assert len(answers[0]) == 10


def test_a_batch_of_channels_answers_as_each_alone(
    sqlite: Database, backbone: Backbone, builder: Builder, bank: Bank
) -> None:
    queries = []
    with sqlite.session() as s:
        tenant = tenants.create_tenant(s, "several").id
        made = [channels.create_channel(s, tenant, f"c{n}", "", backbone.fingerprint) for n in range(4)]
        for n, channel in enumerate(made):
            upsert_items(s, channel.id, [ItemRow(f"i{m}", f"thing {m} of {n}") for m in range(20 + n)])
    for n, channel in enumerate(made):
        if n:
            add_adapter(sqlite, channel, backbone, adapter_bytes(backbone, n))
        opened = open_bundle(builder.build(channel.id).folder)
        queries += [query_of(opened, [f"i{m}", f"i{n}"], 5 + n) for m in (3, 7)]
    mixed = rank(bank, 20, open_bundle, queries)
    for query, answer in zip(queries, mixed, strict=True):
        alone = ask(bank, query)
        assert [row for row, _ in answer] == [row for row, _ in alone]
        assert [score for _, score in answer] == pytest.approx([score for _, score in alone], abs=1e-5)
    assert len({tuple(answer) for answer in mixed}) == len(queries)


def test_popular(bundle: Bundle) -> None:
    found = popular(bundle, Query(bundle.folder, [], 40, {5}))
    assert ids_of(bundle, found)[:3] == ["i3", "i0", "i1"]
    assert len(found) == 39
    assert found[0][1] == 3


def test_unknown_items(bundle: Bundle, bank: Bank) -> None:
    with pytest.raises(NotFound, match=r"2 item.*'x'") as caught:
        query_of(bundle, ["x", "i1", "y"], 5)
    assert caught.value.extra["unknown"] == ["x", "y"]
    stored = ask(bank, query_of(bundle, ["x", "i1"], 5, strict=False))
    assert stored == ask(bank, query_of(bundle, ["i1"], 5))


def test_similar(bundle: Bundle) -> None:
    found = similar(bundle, "i1", 100)
    assert len(found) == 39
    assert "i1" not in ids_of(bundle, found)
    scores = [score for _, score in found]
    assert scores == sorted(scores, reverse=True)
    assert scores[0] <= 1.0001
    with pytest.raises(NotFound):
        similar(bundle, "x", 5)


def test_empty_catalogue(sqlite: Database, builder: Builder, backbone: Backbone) -> None:
    with sqlite.session() as s:
        tenant = tenants.create_tenant(s, "empty")
        channel = channels.create_channel(s, tenant.id, "none", "", backbone.fingerprint)
    bundle = open_bundle(builder.build(channel.id).folder)
    assert popular(bundle, Query(bundle.folder, [], 5, set())) == []


def test_a_folder_of_another_format_is_not_opened(builder: Builder, channel: Channel, tmp_path: Path) -> None:
    release = builder.build(channel.id)
    for path in sorted(release.folder.iterdir()):
        kept = path.read_bytes()
        path.unlink()
        if path.name != "adapter.safetensors":
            with pytest.raises(Exception, match=r"damaged|Remove"):
                open_bundle(release.folder)
        path.write_bytes(kept)
    assert open_bundle(release.folder).facts == release.facts
