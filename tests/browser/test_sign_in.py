"""Signing in and out."""

import httpx
from playwright.sync_api import expect

from tests.app.api.conftest import OPERATOR, Shop
from tests.browser.conftest import Console, key_of


def test_a_wrong_key_is_told_and_a_right_one_comes_in(console: Console, shop: Shop) -> None:
    console.sign_in("tr_wrong")
    expect(console.page.get_by_role("alert")).to_contain_text("wrong, revoked or expired")
    console.check("sign-in-wrong-key")
    console.sign_in(key_of(shop.operator))
    expect(console.page.get_by_role("heading", name="Channels")).to_be_visible()


def test_one_comes_where_one_wanted_to_go_and_out_again(console: Console) -> None:
    page = console.page
    page.goto(f"{console.url}/admin/?x=1")
    page.get_by_label("API key").fill(OPERATOR)
    page.get_by_role("button", name="Sign in").click()
    expect(page).to_have_url(f"{console.url}/admin/?x=1")
    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_label("API key")).to_be_visible()
    page.goto(f"{console.url}/admin/")
    expect(page.get_by_label("API key")).to_be_visible()


def test_a_session_ends_with_its_key(console: Console, shop: Shop, platform: httpx.Client) -> None:
    path = f"/v1/admin/tenants/{shop.tenant}/keys"
    made = platform.post(path, json={"role": "operator", "label": "soon gone"}).json()
    console.sign_in(made["secret"])
    console.open("/")
    assert platform.delete(f"{path}/{made['id']}").is_success
    console.page.goto(f"{console.url}/admin/")
    expect(console.page.get_by_label("API key")).to_be_visible()
