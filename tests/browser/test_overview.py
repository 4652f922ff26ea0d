"""The overview of channels, a channel's front page, and making a channel."""

import httpx
import pytest
from playwright.sync_api import Page, expect

from tests.app.api.conftest import OPERATOR, Shop, new_shop, wait_for
from tests.browser.conftest import Console, key_of

ASK = "/v1/channels/books/recommendations"


def row(page: Page, name: str) -> str:
    """What the table says of a channel."""
    return page.get_by_role("row").filter(has=page.get_by_role("link", name=name, exact=True)).inner_text()


def make(shop: Shop, *names: str) -> None:
    for name in names:
        assert shop.operator.post("/v1/admin/channels", json={"name": name}).status_code == 201


def ask(shop: Shop, times: int) -> None:
    """Recommendations, the first of them followed by its user; returns when they are counted."""
    given = [shop.reader.post(ASK, json={"user_id": "u1", "count": 3}).json() for _ in range(times)]
    click = {"user_id": "u1", "item_id": given[0]["items"][0]["item_id"]}
    event = click | {"recommendation_id": given[0]["recommendation_id"]}
    assert shop.writer.post("/v1/channels/books/events", json={"events": [event]}).is_success
    overview = "/v1/admin/channels/books/overview"
    wait_for(lambda: shop.operator.get(overview).json()["day"]["recommendations"] == times)


def test_the_table_shows_what_is_so(operator: Console, shop: Shop) -> None:
    make(shop, "apples")
    ask(shop, 20)
    operator.open("/")
    page = operator.page
    assert row(page, "books").split()[:4] == ["ok", "books", "30", "25"]
    assert "5.0 %" in row(page, "books")
    assert row(page, "apples").startswith("empty")
    assert "Tenant" not in page.locator("thead").inner_text()
    expect(page.get_by_role("img", name="20 recommendations in 24 hours, 20 in the last one")).to_be_visible()
    operator.check("overview")
    page.emulate_media(color_scheme="dark", reduced_motion="reduce")
    operator.check("overview-dark")


def test_searching_as_one_types_and_sorting(operator: Console, shop: Shop) -> None:
    make(shop, "apples", "pears")
    operator.open("/")
    page = operator.page
    names = page.locator("tbody th")
    expect(names).to_have_text(["apples", "books", "pears"])
    page.get_by_label("Find channels").press_sequentially("pea")
    expect(names).to_have_text(["pears"])
    expect(page).to_have_url(f"{operator.url}/admin/?search=pea")
    expect(page.get_by_label("Find channels")).to_be_focused()
    page.get_by_label("Find channels").fill("nothing like it")
    expect(page.get_by_text("No channel matches")).to_be_visible()
    operator.check("overview-none-found")
    page.get_by_role("link", name="Show all").click()
    page.get_by_role("link", name="Items").click()
    expect(names.first).to_have_text("books")
    expect(page.get_by_role("columnheader", name="Items")).to_have_attribute("aria-sort", "descending")
    page.get_by_role("link", name="Items").click()
    expect(names.last).to_have_text("books")


def test_the_rows_follow_and_the_focus_stays(operator: Console, shop: Shop) -> None:
    operator.open("/")
    page = operator.page
    page.evaluate("document.querySelector('#rows').dataset.old = 'yes'")
    page.set_viewport_size({"width": 390, "height": 844})
    page.evaluate("document.querySelector('#channels').scrollLeft = 200")
    page.get_by_role("link", name="books", exact=True).evaluate("link => link.focus({preventScroll: true})")
    make(shop, "later")
    expect(page.get_by_role("link", name="later", exact=True)).to_be_visible(timeout=15_000)
    expect(page.locator("#rows[data-old]")).to_have_count(0)
    expect(page.get_by_role("link", name="books", exact=True)).to_be_focused()
    assert page.evaluate("document.querySelector('#channels').scrollLeft") == 200
    expect(page.locator("#facts")).to_contain_text("2")


def test_pages_of_fifty(operator: Console, shop: Shop) -> None:
    make(shop, *(f"many-{n:02}" for n in range(55)))
    operator.open("/")
    page = operator.page
    expect(page.locator("#rows tr")).to_have_count(50)
    operator.check("overview-many")
    page.get_by_role("link", name="Next page").click()
    expect(page.locator("#rows tr")).to_have_count(6)
    expect(page.get_by_role("link", name="Next page")).to_have_count(0)
    page.get_by_role("link", name="First page").click()
    expect(page.locator("#rows tr")).to_have_count(50)


def test_making_a_channel(operator: Console, shop: Shop) -> None:
    operator.open("/")
    page = operator.page
    page.get_by_role("button", name="New channel").click()
    name = page.get_by_label("Name", exact=True)
    expect(name).to_be_focused()
    name.fill("Not A Name")
    page.get_by_role("button", name="Make it").click()
    assert name.evaluate("input => input.validity.patternMismatch")  # the browser says so itself
    name.fill("books")
    page.get_by_role("button", name="Make it").click()
    expect(page.get_by_role("alert")).to_contain_text("There is a channel 'books' already")
    expect(name).to_have_value("books")  # nothing is lost
    operator.check("new-channel-refused")
    name.fill("fresh")
    page.get_by_label("Description").fill("what is new")
    page.get_by_role("button", name="Make it").click()
    expect(page).to_have_url(f"{operator.url}/admin/channels/{shop.tenant}/fresh")
    expect(page.get_by_role("heading", name="fresh")).to_be_visible()
    expect(page.get_by_role("link", name="Import items")).to_have_attribute(
        "href", f"/admin/channels/{shop.tenant}/fresh/data"
    )
    expect(page.get_by_text("It has no items yet")).to_be_visible()
    operator.check("channel-new")
    assert shop.operator.get("/v1/channels/fresh").json()["description"] == "what is new"


def test_the_front_page_of_a_channel(operator: Console, shop: Shop) -> None:
    ask(shop, 10)
    operator.channel(shop)
    page = operator.page
    expect(page.get_by_text("Its newest release answers.")).to_be_visible()
    expect(page.locator("#recommendations canvas")).to_be_visible()
    expect(page.locator(".steps .done")).to_have_count(2)
    operator.check("channel")


def test_training_and_what_came_of_it(console: Console, platform: httpx.Client) -> None:
    met = "".join(f"u{n % 30},i{(n * 7) % 20},{1000 + n}\n" for n in range(300))
    with new_shop(console.url, platform, interactions="user_id,item_id,timestamp\n" + met) as shop:
        console.sign_in(key_of(shop.operator))
        console.channel(shop)
        page = console.page
        jobs = "/v1/admin/channels/books/training-jobs"
        fit = {"max_epochs": 1000, "patience": 1000, "max_seconds": 12}  # so long it is seen
        started = shop.operator.post(jobs, json={"warmup_epochs": 1, "fit": fit}).json()
        expect(page.locator("#front").get_by_role("heading", name="Training")).to_be_visible(timeout=10_000)
        wait_for(lambda: shop.operator.get(f"{jobs}/{started['id']}").json()["adapter_version"] == 1, 90)
        if shop.operator.get("/v1/channels/books").json()["champion"]["version"] == 0:  # the gate refused it
            promote = "/v1/admin/channels/books/releases/promote"
            assert shop.operator.post(promote, json={"version": 1}).is_success
        ask(shop, 10)
        console.channel(shop)
        expect(page.get_by_text("HR@10", exact=True)).to_be_visible()
        expect(page.get_by_role("heading", name="To do")).to_have_count(0)
        expect(page.locator("#front")).to_contain_text("promoted: v0 → v1")
        console.check("channel-trained")
        console.open("/")
        expect(page.get_by_role("img", name="HR@10")).to_be_visible()
        console.check("overview-trained")


def test_a_job_that_failed_says_why(operator: Console, shop: Shop) -> None:
    jobs = "/v1/admin/channels/books/training-jobs"
    started = shop.operator.post(jobs, json={}).json()
    wait_for(lambda: shop.operator.get(f"{jobs}/{started['id']}").json()["state"] == "FAILED")
    operator.open("/")
    expect(operator.page.locator("#rows")).to_contain_text("Too little data to train on")
    operator.check("overview-failed")


def test_the_platform_sees_tenants_and_makes_channels_for_them(
    console: Console, shop: Shop, platform: httpx.Client
) -> None:
    console.sign_in(OPERATOR)
    page = console.page
    expect(page.get_by_role("columnheader", name="Tenant")).to_be_visible()
    page.get_by_label("Find channels").fill(shop.tenant)
    expect(page.locator("tbody th")).to_have_text(["books"])
    assert shop.tenant in row(page, "books")
    page.get_by_role("button", name="New channel").click()
    page.get_by_label("Tenant").select_option(shop.tenant)
    page.get_by_label("Name", exact=True).fill("by-the-platform")
    console.check("new-channel")
    page.get_by_role("button", name="Make it").click()
    expect(page).to_have_url(f"{console.url}/admin/channels/{shop.tenant}/by-the-platform")


def test_an_empty_tenant_is_told_what_to_do(console: Console, platform: httpx.Client, shop: Shop) -> None:
    tenant = f"e{shop.tenant}"
    assert platform.post("/v1/admin/tenants", json={"name": tenant}).is_success
    keys = f"/v1/admin/tenants/{tenant}/keys"
    console.sign_in(platform.post(keys, json={"role": "operator"}).json()["secret"])
    expect(console.page.get_by_role("heading", name="Make the first channel")).to_be_visible()
    console.check("overview-empty")
    console.page.goto(f"{console.url}/admin/channels/{shop.tenant}/books")
    expect(console.page.get_by_role("heading", name="Not found")).to_be_visible()


@pytest.mark.parametrize("role", ["reader", "writer"])
def test_who_may_not_operate_sees_names_only(console: Console, shop: Shop, role: str) -> None:
    console.sign_in(key_of(shop.reader if role == "reader" else shop.writer))
    page = console.page
    expect(page.get_by_role("button", name="New channel")).to_have_count(0)
    page.get_by_role("link", name="books").click()
    expect(page.locator("#front")).to_contain_text("Interactions")
    console.check(f"channel-{role}")
