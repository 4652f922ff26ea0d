"""The page of a channel's releases."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from playwright.sync_api import FilePayload, Locator, expect

from app.model.backbone import Backbone
from app.model.methods import AdapterConfig
from tests.app.api.conftest import Shop, new_shop
from tests.browser.conftest import Console, key_of
from tests.fakes import adapter_bytes
from tests.servers import wait_for
from tests.training.conftest import chains

ADMIN = "/v1/admin/channels/books"
WIDE = AdapterConfig(bottleneck=8, user_bottleneck=2, tune_dtl=False)


@pytest.fixture
def adapted(shop: Shop, backbone: Backbone) -> Shop:
    """The shop with versions 1 and 2, which nobody has promoted."""
    for seed, config in ((1, None), (2, WIDE)):
        data = adapter_bytes(backbone, seed, config) if config else adapter_bytes(backbone, seed)
        assert shop.operator.post(f"{ADMIN}/adapters", content=data).status_code == 201
    return shop


@pytest.fixture
def trained(site: str, platform: httpx.Client, backbone: Backbone) -> Iterator[Shop]:
    """A shop whose versions 1 and 2 were trained, differently."""
    texts, sequences = chains()
    items = "item_id,text\n" + "".join(f"{item},{text}\n" for item, text in texts.items())
    rows = [f"{u},{item},{n}\n" for u, sequence in sequences.items() for n, item in enumerate(sequence)]
    with new_shop(site, platform, items, "user_id,item_id,timestamp\n" + "".join(rows)) as opened:
        for width, epochs in ((4, 3), (8, 5)):
            adapter = {"bottleneck": width, "user_bottleneck": 4}
            fit = {"max_epochs": epochs, "patience": epochs, "learning_rate": 0.005}
            body = {"adapter": adapter, "fit": fit, "warmup_epochs": 0, "promote": False}
            path = (
                f"{ADMIN}/training-jobs/"
                + opened.operator.post(f"{ADMIN}/training-jobs", json=body).json()["id"]
            )
            wait_for(lambda path=path: opened.operator.get(path).json()["finished_at"], 120)  # type: ignore[misc]
        yield opened


def champion(shop: Shop) -> int:
    releases = shop.operator.get(f"{ADMIN}/releases").json()
    return next(int(release["version"]) for release in releases if release["champion"])


def rollout(shop: Shop) -> Any:
    return shop.operator.get(f"{ADMIN}/releases/rollout").json()


def version_row(console: Console, version: int) -> Locator:
    return console.page.locator(f"#v{version}")


def test_promote_and_roll_back(operator: Console, adapted: Shop) -> None:
    page = operator.page
    operator.channel(adapted, "/releases")
    operator.check("releases")
    version_row(operator, 2).get_by_role("button", name="Promote").click()
    dialog = page.get_by_role("dialog")
    expect(dialog).to_contain_text("instead of version 0")
    operator.check("releases-promote")
    dialog.get_by_role("button", name="Cancel").click()
    expect(dialog).to_have_count(0)
    version_row(operator, 2).get_by_role("button", name="Promote").click()
    dialog.get_by_label("Why").fill("looks good")
    dialog.get_by_label("Guard").check()
    dialog.get_by_role("button", name="Promote").press("Enter")
    expect(version_row(operator, 2)).to_contain_text("champion")
    expect(page.locator("#releases")).to_contain_text("guarded")
    assert champion(adapted) == 2
    move = adapted.operator.get(f"{ADMIN}/releases/history").json()[-1]
    assert (move["reason"], move["detail"]["guard"]["hours"]) == ("looks good", 24)
    page.get_by_role("button", name="Roll back to version 0").click()
    expect(dialog).to_contain_text("Roll back to version 0?")
    dialog.get_by_role("button", name="Roll back").click()
    expect(version_row(operator, 0)).to_contain_text("champion")
    assert champion(adapted) == 0
    expect(page.get_by_role("table", name="History")).to_contain_text("looks good")
    expect(page.get_by_role("button", name="Roll back to")).to_have_count(0)
    operator.check("releases-history")


def test_who_comes_second_is_told(operator: Console, adapted: Shop) -> None:
    page = operator.page
    operator.channel(adapted, "/releases")
    version_row(operator, 2).get_by_role("button", name="Promote").click()
    other = adapted.operator.post(f"{ADMIN}/releases/promote", json={"version": 1, "reason": "mine"})
    assert other.is_success
    page.get_by_role("dialog").get_by_role("button", name="Promote").click()
    alert = page.get_by_role("alert")
    expect(alert).to_contain_text("Somebody else was faster")
    expect(alert).to_contain_text("version 1")
    expect(version_row(operator, 1)).to_contain_text("champion")
    assert champion(adapted) == 1
    operator.check("releases-conflict")
    version_row(operator, 2).get_by_role("button", name="Promote").click()
    page.get_by_role("dialog").get_by_role("button", name="Promote").click()
    expect(version_row(operator, 2)).to_contain_text("champion")


def test_a_trial_by_keyboard(operator: Console, adapted: Shop) -> None:
    page = operator.page
    operator.channel(adapted, "/releases")
    version_row(operator, 1).get_by_role("button", name="Try").press("Enter")
    dialog = page.get_by_role("dialog")
    slider = dialog.get_by_role("slider")
    for _ in range(15):
        slider.press("ArrowRight")
    expect(dialog.get_by_role("status")).to_have_text("20 %")
    operator.check("releases-challenge")
    dialog.get_by_role("button", name="Begin the trial").press("Enter")
    expect(version_row(operator, 1)).to_contain_text("challenger")
    found = rollout(adapted)
    assert (found["version"], found["share"], found["shadow"]) == (1, 0.2, True)
    assert found["rule"] == {"min_recommendations": 1000, "max_drop": 0.1, "z": 3}
    # What users and the shadow say comes by itself.
    wait_for(lambda: adapted.reader.get("/v1/channels/books").json()["serving"]["challenger"])
    for n in range(40):
        body = {"user_id": f"u{n}", "count": 5}
        assert adapted.reader.post("/v1/channels/books/recommendations", json=body).is_success
    history = {"history": ["i1", "i2"], "count": 5}
    assert adapted.reader.post("/v1/channels/books/recommendations", json=history).is_success
    expect(page.locator("#trial tbody")).not_to_contain_text("–", timeout=30_000)
    operator.check("releases-trial")
    slider = page.get_by_role("slider")
    slider.press("End")
    expect(page.locator("#trial-shown")).to_have_text("100 %")
    page.get_by_label("Ask it in the shadow").uncheck()
    page.get_by_role("button", name="Change the trial").press("Enter")
    wait_for(lambda: rollout(adapted)["share"] == 1)
    assert rollout(adapted)["shadow"] is False
    page.get_by_role("button", name="End the trial").click()
    expect(version_row(operator, 1)).not_to_contain_text("challenger")
    assert adapted.operator.get(f"{ADMIN}/releases/rollout").status_code == 404
    expect(page.get_by_role("table", name="History")).to_contain_text("trial ended")


def test_a_trial_of_nothing_is_refused_and_a_challenger_promoted(operator: Console, adapted: Shop) -> None:
    page = operator.page
    operator.channel(adapted, "/releases")
    version_row(operator, 2).get_by_role("button", name="Try").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_role("slider").press("Home")
    dialog.get_by_label("Ask it in the shadow").uncheck()
    dialog.get_by_role("button", name="Begin the trial").click()
    expect(page.get_by_role("alert")).to_contain_text("share above 0")
    version_row(operator, 2).get_by_role("button", name="Try").click()
    dialog.get_by_role("button", name="Begin the trial").click()
    page.get_by_role("button", name="Promote the challenger").click()
    expect(dialog).to_contain_text("its trial ends")
    dialog.get_by_role("button", name="Promote").click()
    expect(version_row(operator, 2)).to_contain_text("champion")
    assert champion(adapted) == 2
    assert adapted.operator.get(f"{ADMIN}/releases/rollout").status_code == 404


def test_a_trial_that_somebody_ended_goes_from_the_page(operator: Console, adapted: Shop) -> None:
    body = {"version": 1, "share": 0.5, "expected_current": None}
    assert adapted.operator.put(f"{ADMIN}/releases/challenger", json=body).is_success
    operator.channel(adapted, "/releases")
    expect(operator.page.locator("#trial")).to_be_visible()
    assert adapted.operator.delete(f"{ADMIN}/releases/challenger").is_success
    expect(operator.page.locator("#trial")).to_have_count(0, timeout=20_000)


def test_two_side_by_side(console: Console, trained: Shop) -> None:
    operator, page = console, console.page
    console.sign_in(key_of(trained.operator))
    operator.channel(trained, "/releases")
    expect(version_row(operator, 2)).to_contain_text("popularity's")
    operator.check("releases-trained")
    version_row(operator, 1).get_by_role("checkbox").check()
    version_row(operator, 2).get_by_role("checkbox").check()
    page.get_by_role("button", name="Compare the two").click()
    expect(page.get_by_role("heading", level=1)).to_have_text(re.compile("Version [12] and version [12]"))
    page.get_by_label("First").select_option("1")
    page.get_by_label("Second").select_option("2")
    page.get_by_role("button", name="Compare", exact=True).click()
    test = [r["metrics"]["test"]["adapter"] for r in trained.operator.get(f"{ADMIN}/releases").json()[:2]]
    shown = (
        page.get_by_role("table", name="Accuracy").get_by_role("row", name="test HR@10", exact=False).first
    )
    expect(shown).to_contain_text(f"{test[0]['hr10'] - test[1]['hr10']:.4f}")
    error = (test[0]["hr10_se"] ** 2 + test[1]["hr10_se"] ** 2) ** 0.5
    expect(shown).to_contain_text(f"± {error:.4f}".replace("0.", "."))
    knobs = page.get_by_role("table", name="Knobs")
    expect(knobs.get_by_role("row", name="bottleneck 4 8 differs", exact=True)).to_be_visible()
    expect(knobs.get_by_role("row", name="user bottleneck")).not_to_contain_text("differs")
    assert page.locator("#both-hr10-table tbody tr").count() == 5
    assert page.locator("#both-hr10-table thead th").count() == 3
    operator.check("releases-compared")
    page.emulate_media(color_scheme="dark", reduced_motion="reduce")
    operator.check("releases-compared-dark")


def test_weights_go_out_and_come_in(operator: Console, adapted: Shop, tmp_path: Path) -> None:
    page = operator.page
    operator.channel(adapted, "/releases")
    with page.expect_download() as download:
        version_row(operator, 2).get_by_role("link", name="Download").click()
    file = tmp_path / download.value.suggested_filename
    download.value.save_as(file)
    assert file.name == "books-v2.safetensors"
    assert file.read_bytes() == adapted.operator.get(f"{ADMIN}/adapters/2/weights").content
    page.get_by_text("Register an adapter").click()
    # As bytes: given a path, Playwright leaves the file open.
    page.get_by_label("A safetensors file").set_input_files(sent(file.read_bytes()))
    page.get_by_role("button", name="Register").click()
    expect(version_row(operator, 3)).to_contain_text("upload")
    expect(page.locator("#notices")).to_contain_text("Version 3 is registered")
    page.get_by_text("Register an adapter").click()
    page.get_by_label("A safetensors file").set_input_files(sent(b"no weights"))
    page.get_by_role("button", name="Register").click()
    expect(page.locator("#notices .failed")).to_contain_text("safetensors")
    assert len(adapted.operator.get(f"{ADMIN}/releases").json()) == 4


def sent(data: bytes) -> FilePayload:
    """A file as one chooses it."""
    return {"name": "adapter.safetensors", "mimeType": "application/octet-stream", "buffer": data}
