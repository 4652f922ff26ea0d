"""What a bundle answers."""

import math

import numpy as np
import pytest

from app.core.errors import NotFound
from app.model.backbone import Backbone, Backbones
from app.model.encode import encode_histories
from app.serving.build import build
from app.serving.recommend import recommend, similar
from app.serving.release import Bundle
from app.store import channels, tenants
from app.store.db import Database
from app.store.tables import Channel


@pytest.fixture
def bundle(sqlite: Database, backbone: Backbone, channel: Channel) -> Bundle:
    return build(sqlite, Backbones(backbone), channel.id)


def test_ranks_as_the_model_does(bundle: Bundle) -> None:
    history = [bundle.row_of["i1"], bundle.row_of["i2"]]
    user = encode_histories(bundle.model, bundle.vectors, [bundle.of_item[history].tolist()])[0]
    scores = bundle.vectors.numpy()[bundle.of_item] @ user
    order = [bundle.item_ids[row] for row in np.argsort(-scores)]
    found = [item.item_id for item in recommend(bundle, ["i1", "i2"], 40, exclude_seen=False)]
    assert found == order


def test_always_filled(bundle: Bundle) -> None:
    history = [f"i{n}" for n in range(25)]
    found = recommend(bundle, history, 10, exclude_ids=["i30", "i31", "nowhere"])
    ids = [item.item_id for item in found]
    assert len(set(ids)) == 10
    assert not set(ids) & {*history, "i30", "i31"}
    assert all(item.reason == "model" and math.isfinite(item.score) for item in found)
    assert len(recommend(bundle, history, 100)) == 15
    assert recommend(bundle, list(bundle.item_ids), 5) == []


def test_cold_start(bundle: Bundle) -> None:
    found = recommend(bundle, [], 40, exclude_ids=["i5"])
    assert [item.item_id for item in found[:3]] == ["i3", "i0", "i1"]
    assert {item.reason for item in found} == {"cold_start"}
    assert len(found) == 39
    assert found[0].score == 3


def test_unknown_items(bundle: Bundle) -> None:
    with pytest.raises(NotFound, match=r"2 item.*'x'") as caught:
        recommend(bundle, ["x", "i1", "y"], 5)
    assert caught.value.extra["unknown"] == ["x", "y"]
    stored = recommend(bundle, ["x", "i1"], 5, strict=False)
    assert stored == recommend(bundle, ["i1"], 5)


def test_similar(bundle: Bundle) -> None:
    found = similar(bundle, "i1", 100)
    assert len(found) == 39
    assert "i1" not in [item.item_id for item in found]
    scores = [item.score for item in found]
    assert scores == sorted(scores, reverse=True)
    assert scores[0] <= 1.0001
    with pytest.raises(NotFound):
        similar(bundle, "x", 5)


def test_empty_catalogue(sqlite: Database, backbone: Backbone) -> None:
    with sqlite.session() as s:
        tenant = tenants.create_tenant(s, "empty")
        channel = channels.create_channel(s, tenant.id, "none", "", backbone.fingerprint)
    assert recommend(build(sqlite, Backbones(backbone), channel.id), [], 5) == []
