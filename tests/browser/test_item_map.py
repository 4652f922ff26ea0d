"""The item map: points, groups, what is found, what is told of an item."""

import re

import httpx
from playwright.sync_api import expect

from tests.app.api.conftest import Shop, wait_for
from tests.browser.conftest import Console, key_of
from tests.browser.test_data import site  # noqa: F401 - with a backbone for images
from tests.fakes import picture

HOSTILE = "<img src=x onerror=\"document.title='hacked'\">"


def served(api: httpx.Client, channel: str) -> bool:
    """Whether what was last stored is in the release that answers."""
    found = api.get(f"/v1/channels/{channel}").json()
    return bool(found["serving"]["generation"] == found["generation"])


def test_an_item_is_found_and_told(operator: Console, shop: Shop) -> None:
    page = operator.page
    assert shop.writer.put("/v1/channels/books/items/odd%2F1", json={"text": HOSTILE}).is_success
    wait_for(lambda: served(shop.reader, "books"))
    operator.channel(shop, "/map")
    canvas, tip = page.locator("canvas"), page.locator("[data-map-tip]")
    expect(page.locator("[data-map]")).to_contain_text(re.compile(r"the two axes keep \d+\.\d %"))
    expect(tip).to_be_hidden()
    page.get_by_label("Find an item").fill("THING 7 of")
    expect(page.get_by_text("1 found on the map")).to_be_visible()
    expect(tip).to_contain_text("thing 7 of kind 2")
    operator.check("map-found")
    page.get_by_label("Find an item").fill("<img")
    expect(tip).to_contain_text(HOSTILE)  # as text
    expect(tip.locator("img")).to_have_count(0)
    page.get_by_label("Find an item").fill("")
    expect(tip).to_be_hidden()
    canvas.focus()
    page.keyboard.press("ArrowRight")
    expect(tip).to_be_visible()
    first = tip.text_content()
    page.keyboard.press("ArrowRight")
    expect(tip).not_to_have_text(first or "")
    expect(page.locator("[data-map-said]")).not_to_be_empty()
    page.keyboard.press("Escape")
    expect(tip).to_be_hidden()
    page.get_by_text("As a table").click()
    expect(page.locator("tbody tr")).to_have_count(31)


def test_groups_are_told_apart_and_can_be_left_out(operator: Console, shop: Shop) -> None:
    page = operator.page
    operator.channel(shop, "/map")
    page.get_by_label("Group by").select_option("colour")
    page.get_by_role("button", name="Show").click()
    buttons = page.get_by_role("group", name="Groups").get_by_role("button")
    expect(buttons).to_have_count(3)
    expect(buttons.first).to_contain_text("c0 10")
    operator.check("map")
    page.emulate_media(color_scheme="dark")
    page.reload()
    operator.check("map-dark")
    before = page.locator("canvas").evaluate("canvas => canvas.toDataURL()")
    buttons.first.click()
    expect(buttons.first).to_have_attribute("aria-pressed", "false")
    assert page.locator("canvas").evaluate("canvas => canvas.toDataURL()") != before
    buttons.first.click()
    box = page.locator("canvas").bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    page.mouse.wheel(0, -300)
    wait_for(lambda: page.locator("canvas").evaluate("canvas => canvas.toDataURL()") != before)


def test_few_items_and_images(operator: Console, shop: Shop) -> None:
    page = operator.page
    assert shop.operator.post("/v1/admin/channels", json={"name": "films", "modality": "image"}).is_success
    wait_for(lambda: served(shop.reader, "films"))
    operator.open(f"/channels/{shop.tenant}/films/map")
    expect(page.get_by_text("There are no items to show")).to_be_visible()
    operator.check("map-empty")
    for number in (1, 2):
        path = f"/v1/channels/films/items/m{number}"
        assert shop.writer.put(path, json={"text": f"film {number}"}).is_success
        assert shop.writer.put(f"{path}/image", content=picture(number)).is_success
        wait_for(lambda: served(shop.reader, "films"))
        operator.open(f"/channels/{shop.tenant}/films/map")
        page.get_by_label("Find an item").fill(f"film {number}")
        expect(page.locator("[data-map-tip] img")).to_be_visible()
        wait_for(lambda: page.locator("[data-map-tip] img").evaluate("image => image.naturalWidth") == 8)
        page.get_by_text("As a table").click()
        expect(page.locator("tbody tr")).to_have_count(number)
    operator.check("map-images")


def test_a_reader_is_told_why_not(console: Console, shop: Shop) -> None:
    console.sign_in(key_of(shop.reader))
    console.channel(shop, "/map")
    expect(console.page.get_by_role("heading", name="Item map")).to_be_visible()
    expect(console.page.locator(".card")).to_contain_text("operator")


def test_a_version_that_is_not_loaded(operator: Console, shop: Shop) -> None:
    operator.channel(shop, "/map?version=5")
    expect(operator.page.locator(".card")).to_contain_text("Version 5 does not answer now")
