"""Tenants, their limits and keys; what is held of a user; deletions that want the name typed."""

from uuid import uuid4

import httpx
import pytest
from playwright.sync_api import expect

from tests.app.api.conftest import OPERATOR, Shop, client, send
from tests.browser.conftest import Console, key_of


@pytest.fixture
def owner(console: Console) -> Console:
    """The console, signed in with the platform operator's key."""
    console.sign_in(OPERATOR)
    return console


def test_a_tenant_is_made_found_limited_and_deleted(owner: Console, platform: httpx.Client) -> None:
    page, name = owner.page, f"made-{uuid4().hex[:8]}"
    owner.open("/tenants")
    page.get_by_label("New tenant").fill(name)
    page.get_by_role("button", name="Create").click()
    expect(page.get_by_role("heading", name=name, exact=True)).to_be_visible()

    page.get_by_text("Change the limits").click()
    page.get_by_label("Items", exact=True).last.fill("1000")
    page.get_by_label("Requests a second").fill("50")
    page.get_by_role("button", name="Save the limits").click()
    expect(page.get_by_text("The limits are changed.")).to_be_visible()
    assert platform.get(f"/v1/admin/tenants/{name}").json()["overrides"] == {
        "items": 1000,
        "requests_per_second": 50,
    }
    expect(page.get_by_role("meter", name="Items")).to_be_visible()
    owner.check("tenant-limits")

    owner.open(f"/tenants?search={name[3:]}")
    expect(page.get_by_role("row")).to_have_count(2)  # with the head
    owner.check("tenants")
    page.get_by_role("link", name=name).click()

    page.get_by_role("button", name=f"Delete {name}…").click()
    page.get_by_label(f"Type {name} to confirm").fill("something else")
    page.get_by_role("button", name="Delete for good").click()
    expect(page.get_by_role("dialog")).to_be_visible()  # the browser holds it back
    owner.check("tenant-delete")
    page.get_by_label(f"Type {name} to confirm").fill(name)
    page.get_by_role("button", name="Delete for good").click()
    expect(page.get_by_role("heading", name="Tenants")).to_be_visible()
    assert platform.get(f"/v1/admin/tenants/{name}").status_code == 404


def test_a_tenants_page_by_page(owner: Console, platform: httpx.Client) -> None:
    some = uuid4().hex[:6]
    names = [f"{some}-{n:02}" for n in range(51)]
    for name in names:
        assert platform.post("/v1/admin/tenants", json={"name": name}).is_success
    owner.open(f"/tenants?search={some}")
    expect(owner.page.get_by_role("link", name=names[49])).to_be_visible()
    expect(owner.page.get_by_role("link", name=names[50])).to_have_count(0)
    owner.page.get_by_role("link", name="Next page").click()
    expect(owner.page.get_by_role("link", name=names[50])).to_be_visible()
    expect(owner.page.get_by_role("link", name="Next page")).to_have_count(0)
    owner.open("/tenants?search=nobody-is-called-so")
    expect(owner.page.get_by_text("No tenant's name has")).to_be_visible()
    for name in names:
        platform.delete(f"/v1/admin/tenants/{name}", params={"confirm": name})


def test_a_key_is_made_shown_once_rotated_and_revoked(operator: Console, shop: Shop, site: str) -> None:
    page = operator.page
    page.get_by_role("link", name="Tenant", exact=True).click()
    page.get_by_label("Label").fill("shop <b>frontend</b>")
    page.get_by_label("Role").select_option("writer")
    page.get_by_label("Last day").fill("2099-12-31")
    page.get_by_role("button", name="Create a key").click()
    secret = page.locator("#secret").inner_text()
    with client(site, secret) as made:
        me = made.get("/v1/me").json()
        assert (me["role"], me["label"]) == ("writer", "shop <b>frontend</b>")
        assert me["expires_at"] == "2099-12-31T23:59:59Z"
        page.context.grant_permissions(["clipboard-read", "clipboard-write"])
        page.get_by_role("button", name="Copy").click()
        expect(page.get_by_role("button", name="Copied")).to_be_visible()
        assert page.evaluate("navigator.clipboard.readText()") == secret
        operator.check("tenant-key-made")

        page.get_by_role("button", name="Rotate shop").click()
        page.get_by_label("The old one works on for").select_option("3600")
        operator.check("tenant-key-rotate")
        page.get_by_role("dialog").get_by_role("button", name="Rotate").click()
        expect(page.get_by_role("dialog")).to_be_hidden()
        expect(page.locator("#secret")).not_to_have_text(secret)
        rotated = page.locator("#secret").inner_text()
        assert made.get("/v1/me").is_success
        with client(site, rotated) as successor:
            assert successor.get("/v1/me").json()["role"] == "writer"
            page.get_by_role("button", name="Revoke shop").first.click()
            operator.check("tenant-key-revoke")
            page.get_by_role("dialog").get_by_role("button", name="Revoke").click()
            expect(page.get_by_text(f"The key {rotated[:8]}… is refused from now on.")).to_be_visible()
            assert successor.get("/v1/me").status_code == 401
    page.reload()
    assert rotated not in page.content()
    page.get_by_text("Keys that no longer work").click()
    expect(page.get_by_text("revoked 20")).to_be_visible()


def test_the_platforms_last_key_stays(owner: Console) -> None:
    page = owner.page
    page.get_by_role("link", name="Keys", exact=True).click()
    owner.check("platform-keys")
    page.get_by_role("button", name="Revoke bootstrap").click()
    expect(page.get_by_text("You are signed in with this key")).to_be_visible()
    page.get_by_role("dialog").get_by_role("button", name="Revoke").click()
    expect(page.get_by_text("Create another one first")).to_be_visible()


def test_a_users_data_are_shown_and_deleted(operator: Console, shop: Shop) -> None:
    page, user = operator.page, "ann/e <1> & co"
    send(shop.writer, "interactions", f"user_id,item_id,timestamp\n{user},i1,1\n{user},i2,2000\n")
    operator.open(f"/tenants/{shop.tenant}")
    page.get_by_label("User id").fill(user)
    page.get_by_role("button", name="Look up").click()
    expect(page.get_by_role("heading", name=user)).to_be_visible()
    expect(page.get_by_text("1970-01-01 00:33:20 UTC")).to_be_visible()
    operator.check("user")
    page.get_by_role("button", name="Delete this user's data…").click()
    page.get_by_role("button", name="Keep it").click()
    expect(page.get_by_role("dialog")).to_be_hidden()
    page.get_by_role("button", name="Delete this user's data…").click()
    operator.check("user-delete")
    page.get_by_role("button", name="Delete for good").click()
    expect(page.get_by_text("Nothing is held of")).to_be_visible()
    expect(page.get_by_text("2 interactions in 1 channels are deleted")).to_be_visible()


def test_a_readers_key_meets_a_clear_page(console: Console, shop: Shop) -> None:
    page = console.page
    console.sign_in(key_of(shop.reader))
    expect(page.get_by_role("link", name="Tenant")).to_have_count(0)
    for path in (f"/tenants/{shop.tenant}", "/tenants", "/keys", "/system", "/audit"):
        answer = page.goto(f"{console.url}/admin{path}")
        assert answer is not None
        assert answer.status == 403
        expect(page.get_by_role("heading", name="Forbidden")).to_be_visible()
    console.check("forbidden")
    console.channel(shop, "/settings")
    expect(page.get_by_role("button", name="Delete books…")).to_have_count(0)
