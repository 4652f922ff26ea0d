"""What a channel can be trained by, and what its releases say of themselves."""

import pytest

from app.model import adapters
from app.model.backbone import Backbone
from app.model.methods import METHODS, AdapterConfig
from tests.app.api.conftest import Shop, is_problem
from tests.fakes import SMALL, adapter_bytes

ADMIN = "/v1/admin/channels/books"


def test_the_methods_and_what_they_train(shop: Shop, backbone: tuple[str, Backbone]) -> None:
    found = {method["name"]: method for method in shop.operator.get(f"{ADMIN}/methods").json()}
    assert list(found) == list(METHODS)
    assert found["vpt"]["trainable"] is None
    assert found["vpt"]["modality"] == "image"
    lora = found["lora"]
    made = adapters.attach(backbone[1].model, AdapterConfig(method="lora")).adapter
    assert lora["trainable"] == sum(p.numel() for p in made.values())
    assert 0 < lora["share"] < found["fta"]["share"] == pytest.approx(1, abs=1e-3)
    knobs = {knob["name"]: knob for knob in lora["knobs"]}
    assert list(knobs) == [
        "encoders",
        "rank",
        "top_layers",
        "tune_layer_norm",
        "tune_dtl",
        "popularity_prior",
        "item_residual",
    ]
    assert (knobs["rank"]["type"], knobs["rank"]["default"]) == ("integer", 8)
    assert (knobs["rank"]["minimum"], knobs["rank"]["maximum"]) == (1, 256)
    assert (knobs["top_layers"]["default"], knobs["top_layers"]["maximum"]) == (None, 2)
    assert knobs["encoders"]["choices"] == ["both", "item", "user"]
    assert knobs["tune_dtl"]["default"] is True
    # What has one value only is no choice.
    assert "position" not in {knob["name"] for knob in found["houlsby"]["knobs"]}


def test_every_default_is_a_job_that_is_accepted(shop: Shop) -> None:
    for method in shop.operator.get(f"{ADMIN}/methods").json():
        if method["trainable"] is None:
            continue
        adapter = {"method": method["name"]} | {k["name"]: k["default"] for k in method["knobs"]}
        started = shop.operator.post(f"{ADMIN}/training-jobs", json={"adapter": adapter})
        assert started.status_code == 202, started.text


def test_a_release_says_what_it_is(shop: Shop, backbone: tuple[str, Backbone]) -> None:
    data = adapter_bytes(backbone[1], 1)
    assert shop.operator.post(f"{ADMIN}/adapters", content=data).status_code == 201
    first, bare = shop.operator.get(f"{ADMIN}/releases").json()
    assert first["bytes"] == len(shop.operator.get(f"{ADMIN}/adapters/1/weights").content)
    assert first["trainable"] == sum(
        shape.numel() for shape in adapters.shapes(backbone[1].model, SMALL).values()
    )
    assert (first["config"]["bottleneck"], first["source"], first["fits"]) == (4, "upload", True)
    assert (bare["version"], bare["trainable"], bare["bytes"], bare["config"]) == (0, 0, 0, {})
    assert (first["previous"], bare["previous"]) == (False, False)
    promoted = shop.operator.post(f"{ADMIN}/releases/promote", json={"version": 1}).json()
    assert [release["previous"] for release in promoted] == [False, True]
    back = shop.operator.post(f"{ADMIN}/releases/rollback", json={}).json()
    assert [release["previous"] for release in back] == [False, False]


def test_jobs_are_listed_a_page_at_a_time(shop: Shop) -> None:
    ids = [shop.operator.post(f"{ADMIN}/training-jobs", json={}).json()["id"] for _ in range(3)]
    jobs = f"{ADMIN}/training-jobs"
    page = [job["id"] for job in shop.operator.get(jobs, params={"limit": 2}).json()]
    assert page == [ids[2], ids[1]]
    rest = shop.operator.get(jobs, params={"limit": 2, "before": page[-1]}).json()
    assert [job["id"] for job in rest] == [ids[0]]
    assert is_problem(shop.operator.get(jobs, params={"before": "nobody"}), 404)
    assert is_problem(shop.operator.get(jobs, params={"limit": 0}), 422)
