"""Training jobs, adapters and releases."""

import dataclasses
import json

import httpx
import pytest
import torch
from safetensors.torch import load, save

from app.model.backbone import Backbone
from app.model.checkpoint import adapter_from_bytes
from tests.app.api.conftest import Shop, is_problem, serves, wait_for
from tests.fakes import SMALL, adapter_bytes, adapter_weights

ADMIN = "/v1/admin/channels/books"


def upload(shop: Shop, data: bytes) -> httpx.Response:
    return shop.operator.post(f"{ADMIN}/adapters", content=data)


def file_of(backbone: Backbone, **changes: object) -> bytes:
    """An adapter's file with a tensor changed, added, or (None) left out."""
    weights: dict[str, object] = {**adapter_weights(backbone, 1), **changes}
    metadata = {
        "method": "houlsby",
        "config": SMALL.model_dump_json(),
        "backbone_fingerprint": backbone.fingerprint,
    }
    return save({k: v for k, v in weights.items() if isinstance(v, torch.Tensor)}, metadata)


def test_bad_uploads_are_refused(shop: Shop, backbone: tuple[str, Backbone]) -> None:
    tiny = backbone[1]
    good = adapter_bytes(tiny, 1)
    name = "user/L00/mha/down.weight"
    shape = load(good)[name].shape
    foreign = dataclasses.replace(tiny, fingerprint="f" * 64)
    huge = torch.full(shape, 1e300, dtype=torch.float64)
    bad = {
        "safetensors": b"nonsense",
        "is not a whole": (2**40).to_bytes(8, "little") + good[8:],
        "whole safetensors": good[:-10],
        "another backbone": adapter_bytes(foreign, 1),
        "lacks 1 tensor": file_of(tiny, **{name: None}),
        "unknown tensor": file_of(tiny, extra=torch.zeros(1)),
        "has shape": file_of(tiny, **{name: torch.zeros(1, 1)}),
        "NaN": file_of(tiny, **{name: torch.full(shape, torch.nan)}),
        "infinite": file_of(tiny, **{name: huge}),
        "float type": file_of(tiny, **{name: torch.zeros(shape, dtype=torch.int32)}),
        "metadata lack": save(load(good)),
        "config is wrong": save(
            load(good),
            {"method": "houlsby", "config": '{"k": 1}', "backbone_fingerprint": tiny.fingerprint},
        ),
        "empty": b"",
    }
    for reason, data in bad.items():
        answer = upload(shop, data)
        assert is_problem(answer, 422)
        assert reason in answer.json()["detail"] or reason == "empty", answer.text
    assert is_problem(upload(shop, b"x" * 1_000_001), 413)
    assert shop.operator.get(f"{ADMIN}/adapters").json() == []


def test_upload_and_download(shop: Shop, backbone: tuple[str, Backbone]) -> None:
    made = upload(shop, adapter_bytes(backbone[1], 1))
    assert made.status_code == 201, made.text
    assert (made.json()["version"], made.json()["source"]) == (1, "upload")
    data = shop.operator.get(f"{ADMIN}/adapters/1/weights").content
    weights, config, fingerprint = adapter_from_bytes(data)
    assert (config, fingerprint) == (SMALL, backbone[1].fingerprint)
    assert all(torch.equal(weights[k], v) for k, v in adapter_weights(backbone[1], 1).items())
    assert upload(shop, data).json()["version"] == 2
    assert shop.operator.get(f"{ADMIN}/adapters/2").json()["config"] == SMALL.model_dump(exclude_none=True)
    assert [a["version"] for a in shop.operator.get(f"{ADMIN}/adapters").json()] == [2, 1]
    for version in ("3", "3/weights"):
        assert is_problem(shop.operator.get(f"{ADMIN}/adapters/{version}"), 404)
    assert is_problem(shop.operator.get(f"{ADMIN}/adapters/{10**30}"), 422)


def test_promote_and_rollback(shop: Shop, backbone: tuple[str, Backbone]) -> None:
    upload(shop, adapter_bytes(backbone[1], 1))
    releases = f"{ADMIN}/releases"
    wrong = shop.operator.post(f"{releases}/promote", json={"version": 1, "expected_current": 7})
    assert is_problem(wrong, 409)
    assert is_problem(shop.operator.post(f"{releases}/promote", json={"version": 9}), 404)
    assert is_problem(shop.operator.post(f"{releases}/rollback"), 409)
    body = {"version": 1, "expected_current": 0, "reason": "better"}
    listed = shop.operator.post(f"{releases}/promote", json=body).json()
    assert [(r["version"], r["champion"]) for r in listed] == [(1, True), (0, False)]
    wait_for(lambda: serves(shop.reader, 1))
    answer = shop.reader.post("/v1/channels/books/recommendations", json={"history": ["i1"]}).json()
    assert answer["release"]["version"] == 1
    assert shop.operator.post(f"{releases}/rollback", json={"reason": "worse"}).status_code == 200
    wait_for(lambda: serves(shop.reader, 0))
    assert shop.reader.get("/v1/channels/books").json()["champion"]["version"] == 0
    moves = shop.operator.get(f"{releases}/history").json()
    assert [(m["action"], m["to_version"], m["reason"]) for m in moves] == [
        ("promote", 1, "better"),
        ("rollback", 0, "worse"),
    ]
    assert shop.operator.get(releases).json()[-1]["champion"]


def test_jobs(shop: Shop) -> None:
    jobs = f"{ADMIN}/training-jobs"
    plain = shop.operator.post(jobs)
    assert plain.status_code == 202, plain.text
    assert plain.json()["state"] == "PENDING"
    body = {"adapter": {"bottleneck": 8}, "fit": {"max_epochs": 2}, "promote": False}
    job = shop.operator.post(jobs, json=body).json()
    assert job["config"]["fit"] == {"max_epochs": 2}
    assert job["config"]["adapter"]["bottleneck"] == 8
    assert [j["id"] for j in shop.operator.get(jobs).json()] == [job["id"], plain.json()["id"]]
    assert shop.operator.post(f"{jobs}/{job['id']}/cancel").json()["state"] == "CANCELLED"
    assert is_problem(shop.operator.post(f"{jobs}/{job['id']}/cancel"), 409)
    assert is_problem(shop.operator.get(f"{jobs}/job_x"), 404)


@pytest.mark.parametrize("body", [{"fit": {"x": 1}}, {"fit": {"learning_rate": 0}}, {"adapter": {"k": 1}}])
def test_bad_jobs(shop: Shop, body: dict[str, object]) -> None:
    answer = shop.operator.post(f"{ADMIN}/training-jobs", content=json.dumps(body))
    assert is_problem(answer, 422)
    assert answer.json()["errors"] or answer.json()["detail"]


def test_half_a_surrogate_pair_is_refused(shop: Shop) -> None:
    bodies = {
        f"/v1/admin/tenants/{shop.tenant}/keys": r'{"label": "\ud800"}',
        "/v1/admin/channels": r'{"name": "more", "description": "\ud800"}',
        f"{ADMIN}/releases/promote": r'{"version": 0, "reason": "\ud800"}',
    }
    for path, body in bodies.items():
        answer = shop.operator.post(path, content=body, headers={"content-type": "application/json"})
        assert is_problem(answer, 422)
        assert "surrogate" in answer.json()["detail"]
