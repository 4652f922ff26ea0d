"""Image channels answer from their images: encoded, adapted, swapped."""

from collections.abc import Sequence

import numpy as np
import pytest
import torch

from app.model import adapters
from app.model.backbone import Backbone
from app.model.encode import encode_histories, encode_items, popularity_bias, prior_of
from app.model.methods import AdapterConfig
from tests.app.api.conftest import Shop, is_problem, wait_for
from tests.fakes import adapter_bytes, adapter_weights, picture
from tests.pictures import tarred

POSTERS, ADMIN = "/v1/channels/posters", "/v1/admin/channels/posters"
VPT, HOULSBY = AdapterConfig(method="vpt", tokens=3), AdapterConfig(bottleneck=4, user_bottleneck=4)
IDS = [f"p{n}" for n in range(12)]


def serving(shop: Shop) -> tuple[int, int, int]:
    """The version that answers, the generation it is of, and the channel's."""
    body = shop.reader.get(POSTERS).json()
    served = body["serving"]
    return (
        served["release"]["version"] if served["release"] else -1,
        served["generation"] or -1,
        body["generation"],
    )


def settled(shop: Shop, version: int) -> bool:
    served, generation, newest = serving(shop)
    return served == version and generation == newest


@pytest.fixture
def cinema(shop: Shop) -> Shop:
    """A channel of 12 posters, p0 without its image; users of three like p1."""
    assert shop.operator.post("/v1/admin/channels", json={"name": "posters", "modality": "image"}).is_success
    items = "item_id,text\n" + "".join(f"{i},film {i}\n" for i in IDS)
    log = "user_id,item_id,timestamp\n" + "".join(f"u{n},p1,{n + 1}\n" for n in range(3))
    images = tarred({f"p{n}.png": picture(n) for n in range(1, 12)})
    for kind, form, content in (("items", "csv", items), ("interactions", "csv", log)):
        path = f"{POSTERS}/imports?kind={kind}&format={form}"
        assert shop.writer.post(path, content=content.encode()).status_code == 201
    assert shop.writer.post(f"{POSTERS}/imports?kind=images&format=tar", content=images).status_code == 201
    wait_for(lambda: settled(shop, 0))
    return shop


def recommend(shop: Shop, history: Sequence[str]) -> list[str]:
    answer = shop.reader.post(f"{POSTERS}/recommendations", json={"history": list(history), "count": 20})
    assert answer.status_code == 200, answer.text
    return [item["item_id"] for item in answer.json()["items"]]


def offline(backbone: Backbone, config: AdapterConfig | None, seed: int, history: list[int]) -> list[str]:
    """The order of the posters 1 to 11 after a history, computed without the service."""
    model = backbone.model
    if config is not None:
        model = adapters.load(model, config, adapter_weights(backbone, seed, config))
    vectors = torch.from_numpy(encode_items(model, backbone.inputs([picture(n) for n in range(1, 12)])))
    rows = [n - 1 for n in history]
    scores = vectors @ torch.from_numpy(encode_histories(model, vectors, [rows])[0])
    scores += torch.from_numpy(popularity_bias(prior_of(model), np.array([3] + [0] * 10)))
    return [f"p{row + 1}" for row in scores.argsort(descending=True).tolist() if row not in rows]


def test_images_are_what_is_recommended_by(cinema: Shop, image_backbone: tuple[str, Backbone]) -> None:
    assert recommend(cinema, ["p1", "p2"]) == offline(image_backbone[1], None, 0, [1, 2])
    bare = cinema.reader.post(f"{POSTERS}/recommendations", json={"history": ["p0"]})
    assert is_problem(bare, 404)
    assert "with its image" in bare.text
    new = cinema.writer.put(f"{POSTERS}/items/p0/image", content=picture(99))
    assert new.status_code == 201
    wait_for(lambda: settled(cinema, 0))
    assert "p0" in recommend(cinema, ["p1", "p2"])
    assert cinema.writer.delete(f"{POSTERS}/items/p5/image").status_code == 204
    wait_for(lambda: settled(cinema, 0))
    assert "p5" not in recommend(cinema, ["p1", "p2"])


def test_adapters_of_images_are_swapped_in(cinema: Shop, image_backbone: tuple[str, Backbone]) -> None:
    for version, config in enumerate((VPT, HOULSBY), start=1):
        data = adapter_bytes(image_backbone[1], version, config)
        assert cinema.operator.post(f"{ADMIN}/adapters", content=data).status_code == 201
    for version, config in ((1, VPT), (2, HOULSBY), (1, VPT)):
        cinema.operator.post(f"{ADMIN}/releases/promote", json={"version": version})
        wait_for(lambda version=version: settled(cinema, version))  # type: ignore[misc]
        assert recommend(cinema, ["p3", "p4"]) == offline(image_backbone[1], config, version, [3, 4])


def test_what_is_for_texts_is_refused(cinema: Shop, backbone: tuple[str, Backbone]) -> None:
    foreign = cinema.operator.post(f"{ADMIN}/adapters", content=adapter_bytes(backbone[1], 1))
    assert is_problem(foreign, 422)
    assert "another backbone" in foreign.text
    job = cinema.operator.post(f"{ADMIN}/training-jobs", json={"adapter": {"method": "prompt"}})
    assert is_problem(job, 422)
    assert "Use one of" in job.text
    assert "vpt" in job.text
