"""The playground of an image channel: a picture at every item."""

from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import httpx
import pytest
from playwright.sync_api import expect

from tests.app.api.conftest import OPERATOR, Shop, wait_for
from tests.browser.conftest import Console
from tests.fakes import build_backbone
from tests.pictures import encoded, flag, noise
from tests.servers import Service

IDS = ["m1", "m/2", "m 3 'ü'", "m4"]
NATURAL = "all => all.map(each => each.naturalWidth)"


@pytest.fixture(scope="module")
def site(
    tmp_path_factory: pytest.TempPathFactory, valkey_server: str, backbone_folder: Path
) -> Iterator[str]:
    """A service with a backbone for images, too."""
    folder = tmp_path_factory.mktemp("images")
    (folder / "vit").mkdir()
    build_backbone(folder / "vit", "vit")
    settings = {
        "TRANSREC_REDIS_URL": valkey_server,
        "TRANSREC_BACKBONE": str(backbone_folder),
        "TRANSREC_IMAGE_BACKBONE": str(folder / "vit"),
        "TRANSREC_OPERATOR_KEY": OPERATOR,
        "TRANSREC_POLL_SECONDS": "0.5",
    }
    service = Service(folder / "home", settings)
    try:
        yield service.start().url
    finally:
        service.stop()


@pytest.fixture
def films(shop: Shop) -> Shop:
    """The shop with a channel of four posters."""
    assert shop.operator.post("/v1/admin/channels", json={"name": "films", "modality": "image"}).is_success
    items = [{"item_id": item_id, "text": f"film {n}"} for n, item_id in enumerate(IDS)]
    assert shop.writer.post("/v1/channels/films/items", json={"items": items}).is_success
    for n, item_id in enumerate(IDS):
        picture = encoded(noise(n, (64, 48)), "PNG") if n else encoded(flag((64, 48)), "PNG")
        path = f"/v1/channels/films/items/{quote(item_id, safe='')}/image"
        assert shop.writer.put(path, content=picture).is_success
    wait_for(lambda: len(popular(shop.reader)) == len(IDS))
    return shop


def popular(reader: httpx.Client) -> list[str]:
    answer = reader.post("/v1/channels/films/recommendations", json={"history": []})
    return [item["item_id"] for item in answer.json().get("items", ())]


def test_pictures_are_shown(operator: Console, films: Shop) -> None:
    page = operator.page
    operator.open(f"/channels/{films.tenant}/films/playground")
    pictures = page.locator(".answers .picture")
    expect(pictures).to_have_count(len(IDS))
    wait_for(lambda: pictures.evaluate_all(NATURAL) == [64] * len(IDS))
    page.get_by_role("searchbox").press_sequentially("film")
    expect(page.locator("#found-items .picture")).to_have_count(len(IDS))
    page.get_by_role("button", name="film 1 m/2").click()
    expect(page.locator("#history .picture")).to_have_count(1)
    wait_for(lambda: page.locator("#playground .picture").evaluate_all(NATURAL) == [64] * len(IDS))
    operator.check("playground-images")
