"""The pages of a channel's training jobs."""

import re
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from playwright.sync_api import expect

from app.console.training_form import MORE
from tests.app.api.conftest import Shop, new_shop
from tests.browser.conftest import Console, key_of
from tests.servers import wait_for
from tests.training.conftest import chains
from training.finetune import TrainingConfig

JOBS = "/v1/admin/channels/books/training-jobs"
SLOW = {"adapter": {"bottleneck": 4, "user_bottleneck": 4}, "warmup_epochs": 0}


@pytest.fixture
def shop(site: str, platform: httpx.Client) -> Iterator[Shop]:
    """A tenant whose channel can be learned."""
    texts, sequences = chains()
    items = "item_id,text\n" + "".join(f"{item},{text}\n" for item, text in texts.items())
    rows = [f"{u},{item},{n}\n" for u, sequence in sequences.items() for n, item in enumerate(sequence)]
    with new_shop(site, platform, items, "user_id,item_id,timestamp\n" + "".join(rows)) as opened:
        yield opened


def job(shop: Shop, job_id: str) -> Any:
    return shop.operator.get(f"{JOBS}/{job_id}").json()


def endless(shop: Shop) -> str:
    """A job that goes on until somebody ends it."""
    fit = {"max_epochs": 1000, "patience": 1000, "batch_users": 16}
    return str(shop.operator.post(JOBS, json=SLOW | {"fit": fit}).json()["id"])


def test_train_and_see_the_curve_move(operator: Console, shop: Shop) -> None:
    page = operator.page
    operator.channel(shop, "/training")
    expect(page.get_by_text("No job yet")).to_be_visible()
    expect(page.get_by_role("radio", name="vpt")).to_be_disabled()
    operator.check("training-form")
    page.get_by_role("radio", name="lora").check()
    expect(page.locator("#knobs").get_by_label("Rank")).to_be_visible()
    expect(page.locator("#knobs").get_by_label("Bottleneck")).to_have_count(0)
    page.locator("#knobs").get_by_label("Rank").fill("4")
    page.get_by_text("More: epochs").click()
    for label, value in (
        ("Epochs at most", "60"),
        ("Patience", "60"),
        ("Warm-up", "0"),
        ("Batch", "4"),
        ("Learning", "0.005"),
    ):
        page.get_by_label(label).fill(value)
    operator.check("training-form-filled")
    page.get_by_role("button", name="Start training").press("Enter")
    page.wait_for_url("**/training/job_*")
    expect(page.locator("#loss canvas")).to_be_visible(timeout=60_000)
    # The canvas stays the same one while its numbers grow, and what was opened stays open.
    page.evaluate("document.querySelector('#loss canvas').mark = true")
    page.locator("#loss-table summary").click()
    rows = page.locator("#loss-table tbody tr")
    before = rows.count()
    wait_for(lambda: rows.count() > before)
    assert page.evaluate("document.querySelector('#loss canvas').mark") is True
    assert page.locator("#loss canvas").count() == 1
    expect(page.locator("#loss-table tbody")).to_be_visible()
    expect(page.get_by_text("users/s")).to_be_visible()
    operator.check("training-job-running")
    job_id = page.url.rpartition("/")[2]
    wait_for(lambda: job(shop, job_id)["finished_at"], 120)
    expect(page.get_by_role("heading", name="Quality gate")).to_be_visible()
    assert page.locator("#job").get_attribute("hx-trigger") is None
    done = job(shop, job_id)
    assert (done["config"]["adapter"]["method"], done["config"]["adapter"]["rank"]) == ("lora", 4)
    expect(rows).to_have_count(len(done["result"]["curve"]))
    operator.check("training-job-done")
    page.emulate_media(color_scheme="dark", reduced_motion="reduce")
    operator.check("training-job-dark")
    page.get_by_role("link", name=f"Version {done['adapter_version']} among").click()
    operator.channel(shop, "/training")
    expect(page.get_by_role("row", name="lora")).to_contain_text(f"version {done['adapter_version']}")
    operator.check("training-jobs")


def test_cancel(operator: Console, shop: Shop) -> None:
    page, job_id = operator.page, endless(shop)
    wait_for(lambda: job(shop, job_id)["progress"].get("curve"), 120)
    operator.channel(shop, "/training")
    page.get_by_role("link", name="running").click()
    page.get_by_role("button", name="Cancel").click()
    expect(page.get_by_text("cancelled on request")).to_be_visible(timeout=60_000)
    expect(page.get_by_role("button", name="Cancel")).to_have_count(0)
    assert job(shop, job_id)["state"] == "CANCELLED"
    operator.check("training-job-cancelled")


def test_a_wrong_knob_is_told_at_its_field(operator: Console, shop: Shop) -> None:
    page = operator.page
    operator.channel(shop, "/training")
    page.get_by_role("radio", name="compacter").check()
    expect(page.get_by_role("group", name="Knobs of compacter")).to_be_visible()
    page.locator("#knobs").get_by_label("Bottleneck", exact=True).fill("6")
    page.get_by_text("More: epochs").click()
    page.get_by_label("Epochs at most").fill("40")
    page.get_by_role("button", name="Start training").click()
    wrong = page.locator("#knobs").get_by_label("Bottleneck", exact=True)
    expect(wrong).to_have_attribute("aria-invalid", "true")
    expect(wrong).to_have_accessible_description(re.compile("needs bottlenecks that 4 divides"))
    expect(wrong).to_have_value("6")
    expect(page.get_by_label("Epochs at most")).to_have_value("40")
    operator.check("training-form-wrong")
    wrong.fill("8")
    page.locator("#knobs").get_by_label("Top layers").fill("9")
    page.get_by_label("Epochs at most").fill("0")
    page.get_by_role("button", name="Start training").click()
    expect(page.get_by_label("Epochs at most")).to_have_accessible_description(
        re.compile("greater than or equal to 1")
    )
    page.get_by_label("Epochs at most").fill("1")
    page.get_by_role("button", name="Start training").click()
    expect(page.locator("#knobs").get_by_label("Top layers")).to_have_accessible_description(
        re.compile("has 2 layers")
    )
    assert shop.operator.get(JOBS).json() == []


def test_what_it_becomes_is_asked_for(operator: Console, shop: Shop) -> None:
    page = operator.page
    operator.channel(shop, "/training")
    expect(page.get_by_label("Share of the users")).to_be_hidden()
    page.get_by_label("Then").select_option("challenger")
    page.get_by_label("Share of the users").fill("0")
    page.get_by_role("button", name="Start training").click()
    expect(page.get_by_label("Share of the users")).to_have_accessible_description(
        re.compile("share above 0")
    )
    page.get_by_label("Share of the users").fill("12.5")
    page.get_by_text("More: epochs").click()
    page.get_by_label("Priority").select_option("high")
    page.get_by_role("button", name="Start training").click()
    page.wait_for_url("**/training/job_*")
    found = job(shop, page.url.rpartition("/")[2])
    assert found["config"]["as_challenger"]["share"] == 0.125
    assert found["priority"] == "high"
    shop.operator.post(f"{JOBS}/{found['id']}/cancel")


def test_another_tenants_job_is_nowhere(operator: Console, shop: Shop, platform: httpx.Client) -> None:
    with new_shop(operator.url, platform) as other:
        theirs = endless(other)
        answer = operator.page.goto(f"{operator.url}/admin/channels/{other.tenant}/books/training/{theirs}")
        assert answer is not None
        assert answer.status == 404
        answer = operator.page.goto(f"{operator.url}/admin/channels/{shop.tenant}/books/training/{theirs}")
        assert answer is not None
        assert answer.status == 404
        other.operator.post(f"{JOBS}/{theirs}/cancel")


def test_a_writer_is_refused(console: Console, shop: Shop) -> None:
    console.sign_in(key_of(shop.writer))
    answer = console.page.goto(f"{console.url}/admin/channels/{shop.tenant}/books/training")
    assert answer is not None
    assert answer.status == 403


def test_the_defaults_that_are_shown_are_the_workers() -> None:
    given: dict[str, Any] = {f"fit.{k}": v for k, v in TrainingConfig().fit.model_dump().items()}
    given["warmup_epochs"] = TrainingConfig().warmup_epochs
    shown = {f.name: f.default for f in MORE if f.name not in ("priority", "fit.learning_rate")}
    assert shown == {name: given[name] for name in shown}
