"""The API's description for people."""

import re
from urllib.parse import urlsplit

from playwright.sync_api import expect

from tests.app.api.conftest import Shop
from tests.browser.conftest import Console, key_of


def test_the_api_is_described_and_tried_without_another_host(console: Console, shop: Shop) -> None:
    page, asked = console.page, list[str]()
    page.on("request", lambda request: asked.append(request.url))
    answer = page.goto(f"{console.url}/docs")
    assert answer is not None
    assert "script-src 'self';" in answer.headers["content-security-policy"]
    expect(page.get_by_role("heading", name=re.compile("TransRec Serve"))).to_be_visible()
    operations = page.locator(".opblock")
    expect(operations).to_have_count(len(described(page.request.get(f"{console.url}/openapi.json").json())))

    page.get_by_role("button", name="Authorize").click()
    dialog = page.locator(".modal-ux")
    dialog.get_by_role("textbox").fill(key_of(shop.reader))
    dialog.get_by_role("button", name="Apply").click()
    dialog.get_by_role("button", name="Close", exact=True).click()
    me = operations.filter(has_text="/v1/me")
    me.get_by_role("button").first.click()
    me.get_by_role("button", name="Try it out").click()
    me.get_by_role("button", name="Execute").click()
    expect(me.locator(".live-responses-table")).to_contain_text(shop.tenant)
    console.shoot("reference")
    assert {urlsplit(url).netloc for url in asked if not url.startswith("data:")} == {
        urlsplit(console.url).netloc
    }


def described(openapi: dict[str, dict[str, dict[str, object]]]) -> list[str]:
    return [f"{method} {path}" for path, methods in openapi["paths"].items() for method in methods]
