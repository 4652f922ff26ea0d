"""Every method is uploaded, swapped in and served like any other, and answers as it does offline."""

import pytest

from app.model.backbone import Backbone
from app.model.methods import METHODS, AdapterConfig
from tests.app.api.conftest import Shop, is_problem, serves, wait_for
from tests.app.api.test_swap import ADMIN, offline
from tests.fakes import adapter_bytes

NARROW = {"bottleneck": 4, "user_bottleneck": 4, "rank": 2, "tokens": 3}
TEXT_METHODS = [method for method, spec in METHODS.items() if spec.modality != "image"]


def narrow(method: str) -> AdapterConfig:
    knobs = {k: v for k, v in NARROW.items() if k in METHODS[method].knobs}
    return AdapterConfig.model_validate({"method": method, **knobs})


def test_every_method_is_swapped_in_and_served(shop: Shop, backbone: tuple[str, Backbone]) -> None:
    configs = [narrow(method) for method in TEXT_METHODS]
    for version, config in enumerate(configs, start=1):
        sent = shop.operator.post(f"{ADMIN}/adapters", content=adapter_bytes(backbone[1], version, config))
        assert sent.status_code == 201, sent.text
        assert sent.json()["method"] == config.method
    body, orders = {"history": ["i1", "i2"], "count": 10}, set()
    for version, config in enumerate(configs, start=1):
        assert shop.operator.post(f"{ADMIN}/releases/promote", json={"version": version}).status_code == 200
        wait_for(lambda version=version: serves(shop.reader, version))  # type: ignore[misc]
        answer = shop.reader.post("/v1/channels/books/recommendations", json=body).json()
        assert answer["release"]["method"] == config.method
        order = [item["item_id"] for item in answer["items"]]
        assert order == offline(backbone[1], version, config)
        orders.add(tuple(order))
    assert len(orders) > len(configs) / 2  # they do differ


@pytest.mark.parametrize(
    ("adapter", "says"),
    [
        ({"method": "nothing"}, "houlsby"),
        ({"method": "k_adapter", "position": "mha"}, "position does not apply to k_adapter"),
        ({"method": "vpt"}, "vpt does not exist for text encoders. Use one of: houlsby"),
        ({"method": "ftn", "top_layers": 7}, "has 2 layers"),
    ],
)
def test_a_job_that_cannot_be_is_refused_at_once(shop: Shop, adapter: dict[str, object], says: str) -> None:
    answer = shop.operator.post(f"{ADMIN}/training-jobs", json={"adapter": adapter})
    assert is_problem(answer, 422)
    assert says in answer.text
    assert shop.operator.get(f"{ADMIN}/training-jobs").json() == []
