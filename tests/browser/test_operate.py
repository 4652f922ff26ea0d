"""A channel's settings, the audit and the system's state."""

import httpx
import pytest
from playwright.sync_api import expect

from tests.app.api.conftest import OPERATOR, Shop
from tests.browser.conftest import Console, key_of


def test_a_channel_is_described(operator: Console, shop: Shop) -> None:
    page = operator.page
    operator.channel(shop, "/settings")
    for text in ("  all that is read <b>& more</b> ", ""):
        page.get_by_label("Description").fill(text)
        page.get_by_role("button", name="Save").click()
        expect(page.get_by_text("The description is changed.")).to_be_visible()
        expect(page.get_by_label("Description")).to_have_value(text.strip())
        page.get_by_role("button", name="Dismiss").click()
        assert shop.reader.get("/v1/channels/books").json()["description"] == text.strip()
    shop.operator.patch("/v1/admin/channels/books", json={"description": "said by the API"})
    operator.channel(shop)
    expect(page.get_by_text("said by the API")).to_be_visible()


def test_a_reader_reads_the_description(console: Console, shop: Shop) -> None:
    shop.operator.patch("/v1/admin/channels/books", json={"description": "all that is read"})
    console.sign_in(key_of(shop.reader))
    console.channel(shop, "/settings")
    expect(console.page.get_by_text("all that is read")).to_be_visible()
    expect(console.page.get_by_role("button", name="Save")).to_have_count(0)
    tabs = console.page.get_by_role("navigation", name="books").get_by_role("link")
    expect(tabs).to_have_text(["Overview", "Data", "Playground", "Settings"])
    console.check("settings-reader")


def test_a_training_policy_is_set_changed_and_removed(operator: Console, shop: Shop) -> None:
    page, route = operator.page, "/v1/admin/channels/books/training-policy"
    operator.channel(shop, "/settings")
    page.get_by_role("button", name="Set the policy").click()
    expect(page.get_by_text("say when: every_hours")).to_be_visible()  # the API's words
    page.get_by_role("button", name="Dismiss").click()
    page.get_by_label("Every … hours").fill("24")
    page.get_by_label("After … new interactions").fill("500")
    page.get_by_label("Method").select_option("lora")
    page.get_by_label("What passes the gate becomes").select_option("challenger")
    page.get_by_role("button", name="Set the policy").click()
    expect(page.get_by_text("The policy is set.")).to_be_visible()
    policy = shop.operator.get(route).json()
    assert (policy["every_hours"], policy["after_interactions"]) == (24, 500)
    assert policy["job"]["adapter"]["method"] == "lora"
    assert policy["job"]["as_challenger"]["share"] == 0.05
    operator.check("settings")

    page.get_by_label("Every … hours").fill("")
    page.get_by_label("What passes the gate becomes").select_option("version")
    page.get_by_role("button", name="Change the policy").click()
    expect(page.get_by_text("Trained again after 500 new interactions")).to_be_visible()
    policy = shop.operator.get(route).json()
    assert policy["every_hours"] is None
    assert policy["job"]["promote"] is False
    page.get_by_role("button", name="Remove it").click()
    expect(page.get_by_role("button", name="Set the policy")).to_be_visible()
    assert shop.operator.get(route).status_code == 404


def test_a_channel_is_deleted_by_its_name(operator: Console, shop: Shop) -> None:
    page = operator.page
    operator.channel(shop, "/settings")
    page.get_by_role("button", name="Delete books…").click()
    page.get_by_label("Type books to confirm").fill("books")
    operator.check("settings-delete")
    page.get_by_role("button", name="Delete for good").click()
    expect(page.get_by_role("heading", name="Channels")).to_be_visible()
    assert shop.operator.get("/v1/channels/books").status_code == 404


def test_the_audit_says_who_did_what(operator: Console, shop: Shop) -> None:
    page = operator.page
    for n in range(51):
        shop.operator.post("/v1/admin/channels/books/releases/promote", json={"version": 900 + n})
    page.get_by_role("link", name="Audit").click()
    expect(page.get_by_text("promoted version 950")).to_be_visible()
    expect(page.get_by_text("promoted version 900")).to_have_count(0)
    expect(page.get_by_text("refused 404").first).to_be_visible()
    page.get_by_text("promoted version 950").click()
    expect(page.get_by_text('"version": 950')).to_be_visible()
    operator.check("audit")
    page.get_by_role("link", name="Older").click()
    expect(page.get_by_text("promoted version 900")).to_be_visible()
    page.get_by_role("combobox", name="Act").select_option("create_import")
    page.get_by_role("button", name="Filter").click()
    expect(page.get_by_text("imported items as csv")).to_be_visible()
    expect(page.get_by_role("row")).to_have_count(3)
    page.get_by_label("Channel", exact=True).fill("nowhere")
    page.get_by_role("button", name="Filter").click()
    expect(page.get_by_text("No act matches.")).to_be_visible()


def test_the_system_refreshes_itself(console: Console, platform: httpx.Client, shop: Shop) -> None:
    page = console.page
    console.sign_in(OPERATOR)
    page.get_by_role("link", name="System").click()
    expect(page.get_by_role("heading", name="Readiness ready")).to_be_visible()
    for text in ("reachable", "sqlite", "cpu", "alive"):
        expect(page.get_by_text(text, exact=True).first).to_be_visible()
    console.check("system")
    page.emulate_media(color_scheme="dark", reduced_motion="reduce")
    console.check("system-dark")
    answered = page.get_by_role("region", name="Queue").get_by_role("cell").nth(1)
    before = int(answered.inner_text().replace(",", ""))
    asked = shop.reader.post("/v1/channels/books/recommendations", json={"history": ["i1"], "count": 2})
    assert asked.json()["items"]
    expect(answered).not_to_have_text(f"{before:,}", timeout=10_000)


@pytest.mark.parametrize("path", ["/keys", "/audit"])
def test_dark(console: Console, path: str, shop: Shop) -> None:
    console.sign_in(OPERATOR)
    console.page.emulate_media(color_scheme="dark", reduced_motion="reduce")
    console.open(path)
    console.check(f"{path[1:]}-dark")
