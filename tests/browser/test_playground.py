"""The playground: histories, champion and challenger side by side, and addresses that say everything."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from playwright.sync_api import Locator, Page, expect

from app.model.backbone import Backbone, load_backbone
from tests.app.api.conftest import EVENTS, Shop, new_shop, send, serves, wait_for
from tests.browser.conftest import Console, key_of
from tests.fakes import adapter_bytes

ADMIN = "/v1/admin/channels/books"
ODD = ["slash/1", 'o\'hara "x"', "ünï☃", "a&b=c#d?e"]
HOSTILE = "<img src=x onerror=alert(1)> & co"


@pytest.fixture(scope="session")
def backbone(backbone_folder: Path) -> Backbone:
    """The backbone that the site has."""
    return load_backbone(str(backbone_folder))


@pytest.fixture
def tried(shop: Shop, backbone: Backbone) -> Shop:
    """The shop with version 1 as its challenger."""
    assert shop.operator.post(f"{ADMIN}/adapters", content=adapter_bytes(backbone, 1)).is_success
    plan = {"version": 1, "share": 0, "shadow": True}
    assert shop.operator.put(f"{ADMIN}/releases/challenger", json=plan).is_success
    wait_for(lambda: shop.reader.get("/v1/channels/books").json()["serving"]["challenger"])
    return shop


@pytest.fixture
def odd(site: str, platform: httpx.Client) -> Iterator[Shop]:
    """A shop whose items have odd ids, and one a hostile title."""
    rows = ["item_id,text,colour"] + [
        f'"{i.replace(chr(34), chr(34) * 2)}",thing {n},c{n}' for n, i in enumerate(ODD)
    ]
    rows += [f"h,{HOSTILE},red", "p,plain,red"]
    with new_shop(
        site, platform, "\n".join(rows) + "\n", "user_id,item_id,timestamp\nu/1 é,h,1\nu/1 é,p,2\n"
    ) as opened:
        yield opened


def column(page: Page, name: str) -> Locator:
    return page.get_by_role("region", name=name, exact=True)


def titles(page: Page, name: str = "Champion") -> list[str]:
    return column(page, name).locator(".answers .title").all_inner_texts()


def offered(shop: Shop, **body: Any) -> list[str]:
    """The titles that the API recommends."""
    answer = shop.operator.post(
        "/v1/channels/books/recommendations/preview", json={"variant": "champion", **body}
    )
    return [item["metadata"]["text"] for item in answer.json()["items"]]


def add(page: Page, search: str, title: str) -> None:
    """Find an item and put it into the history."""
    page.get_by_role("searchbox").press_sequentially(search)
    page.get_by_role("button", name=title).first.click()
    expect(page.locator("#history .title").last).to_have_text(title)


def test_a_history_is_built_and_answered(operator: Console, tried: Shop) -> None:
    page = operator.page
    operator.channel(tried, "/playground")
    expect(page.locator("#history")).to_contain_text("Nobody yet")
    assert titles(page) == offered(tried, history=[])
    operator.check("playground-nobody")

    add(page, "thing 3 ", "thing 3 of kind 3")
    add(page, "i7", "thing 7 of kind 2")
    assert titles(page) == offered(tried, history=["i3", "i7"])
    challenger = offered(tried, history=["i3", "i7"], variant="challenger")
    assert titles(page, "Challenger") == challenger
    assert challenger != titles(page)
    # How ranks differ, reckoned again.
    champion = titles(page)
    for title, about in zip(
        challenger, column(page, "Challenger").locator(".about").all_inner_texts(), strict=True
    ):
        by = champion.index(title) - challenger.index(title) if title in champion else None
        expected = (
            "only here" if by is None else f"▲ {by} up" if by > 0 else f"▼ {-by} down" if by < 0 else "= same"
        )
        assert expected in about
        assert "model" in about
    operator.check("playground")
    page.emulate_media(color_scheme="dark", reduced_motion="reduce")
    operator.check("playground-dark")

    # The order counts; the focus stays with the item that moves.
    page.get_by_role("button", name="Move thing 7 of kind 2 up").press("Enter")
    expect(page.locator("#history .title").first).to_have_text("thing 7 of kind 2")
    expect(
        page.get_by_role("button", name="Move thing 7 of kind 2 down")
    ).to_be_focused()  # it cannot go higher
    expect(page).to_have_url(re.compile(r"item=i7&item=i3$"))
    assert titles(page) == offered(tried, history=["i7", "i3"])
    # A recommended item is added, and the answer changes.
    wanted = titles(page)[0]
    column(page, "Champion").get_by_role("button", name=f"Add {wanted} to the history").click()
    expect(page.locator("#history .title").last).to_have_text(wanted)
    assert wanted not in titles(page)
    page.get_by_role("button", name="Remove thing 3 of kind 3").click()
    expect(page.locator("#history .title")).to_have_count(2)
    # The address says all of it, to others and to Back.
    shown = titles(page)
    page.reload()
    assert titles(page) == shown
    page.go_back()
    expect(page.locator("#history .title")).to_have_count(3)
    page.go_back()
    expect(page.locator("#history .title")).to_have_count(2)
    assert titles(page) == offered(tried, history=["i7", "i3"])
    page.get_by_role("button", name="Clear the history").click()
    expect(page.locator("#history")).to_contain_text("Nobody yet")


def test_it_is_used_by_keyboard_alone(operator: Console, shop: Shop) -> None:
    page = operator.page
    operator.channel(shop, "/playground")
    search = page.get_by_role("searchbox")
    search.press_sequentially("kind 4")
    expect(page.locator("#found-items .choice")).to_have_count(6)
    search.press("Enter")  # the first
    expect(page.locator("#history .title")).to_have_text(["thing 14 of kind 4"])
    expect(search).to_be_focused()
    page.keyboard.type("kind 4")
    expect(page.locator("#found-items .choice")).to_have_count(6)
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    expect(page.locator("#history .title")).to_have_text(["thing 14 of kind 4", "thing 19 of kind 4"])
    page.keyboard.type("kind 4")
    expect(search).to_have_value("kind 4")  # no key that was pressed meanwhile is lost
    expect(page.locator("#found-items .choice")).to_have_count(6)
    operator.check("playground-searching")
    page.keyboard.press("Escape")
    expect(page.locator("#found-items .choice")).to_have_count(0)


def test_a_user_is_found_or_drawn(operator: Console, shop: Shop) -> None:
    page = operator.page
    operator.channel(shop, "/playground")
    page.get_by_label("User", exact=True).press_sequentially("u")
    page.get_by_role("button", name="u1", exact=True).click()
    expect(page.locator("#history")).to_contain_text("Met lately")
    met = shop.operator.get("/v1/channels/books/users/u1/history").json()["items"]
    assert page.locator("#history .title").all_inner_texts() == [item["text"] for item in met]
    assert titles(page) == offered(shop, user_id="u1")
    operator.check("playground-user")
    # One item more makes a history of it, from which one goes on.
    wanted = titles(page)[1]
    page.get_by_role("button", name=f"Add {wanted} to the history").click()
    expect(page.get_by_label("User", exact=True)).to_have_value("")
    assert page.locator("#history .title").all_inner_texts() == [i["text"] for i in reversed(met)] + [wanted]
    page.get_by_role("button", name="Random user").click()
    expect(page.get_by_label("User", exact=True)).to_have_value(re.compile("u[012]"))
    # Nobody knows this one.
    page.get_by_label("User", exact=True).fill("nobody/1 'é")
    page.get_by_label("User", exact=True).press("Enter")
    expect(page.locator("#history")).to_contain_text("Nothing is known of the user nobody/1 'é")
    expect(column(page, "Champion").locator(".badge", has_text="cold_start").first).to_be_visible()
    assert titles(page) == offered(shop, user_id="nobody/1 'é")


def test_options_and_pages(operator: Console, shop: Shop) -> None:
    page = operator.page
    operator.channel(shop, "/playground?item=i1&count=4")
    first = titles(page)
    assert len(first) == 4
    page.get_by_role("button", name="Next page").click()
    expect(page.locator(".answers li")).to_have_count(8)
    ranked = offered(shop, history=["i1"], count=8)
    assert titles(page) == ranked
    page.get_by_label("Attribute of condition 1").fill("colour")
    page.get_by_label("Value of condition 1").fill("c1")
    page.get_by_label("Value of condition 1").blur()
    expect(page.locator(".answers li")).to_have_count(4)  # the first page again
    assert titles(page) == offered(shop, history=["i1"], count=4, filter={"colour": "c1"})
    page.get_by_label("Attribute of limit 1").fill("colour")
    page.get_by_label("Attribute of limit 1").blur()
    expect(page.locator(".answers li")).to_have_count(1)
    operator.check("playground-options")
    page.reload()
    expect(page.get_by_label("Value of condition 1")).to_have_value("c1")
    page.get_by_role("button", name="Remove limit 1").click()
    expect(page.get_by_label("Attribute of limit 1")).to_have_value("")
    page.get_by_role("button", name="Remove condition 1").click()
    expect(page.get_by_label("Attribute of condition 1")).to_have_value("")
    page.get_by_label("Recommend seen items").check()
    expect(page).to_have_url(re.compile("item=i1&count=4&seen=1$"))
    page.get_by_role("button", name="Items similar to").first.click()
    similar = (
        column(page, "Similar to i1") if titles(page)[0] == "thing 1 of kind 1" else page.locator("#similar")
    )
    expect(similar.locator("li")).to_have_count(10)
    operator.check("playground-similar")
    page.get_by_role("button", name="Close").click()
    expect(page.locator("#similar")).to_have_count(0)


def test_what_is_wrong_is_said_in_the_apis_words(operator: Console, shop: Shop) -> None:
    # So many attributes that not all can be asked for.
    items = [
        {"item_id": f"i{n}", "text": f"t{n}", "attributes": {f"a{n}-{m}": m for m in range(30)}}
        for n in range(10)
    ]
    assert shop.writer.post("/v1/channels/books/items", json={"items": items}).is_success
    generation = shop.reader.get("/v1/channels/books").json()["generation"]
    wait_for(lambda: serves(shop.reader, 0, generation))
    page = operator.page
    operator.channel(shop, "/playground?item=i1&attribute=flavour&is=is&value=sweet")
    expect(column(page, "Champion").get_by_role("alert")).to_contain_text(
        "Nothing is known of the attribute 'flavour'"
    )
    operator.channel(shop, "/playground?item=i1&attribute=a1-1&is=gte&value=much")
    expect(column(page, "Champion").get_by_role("alert")).to_contain_text("valid number")
    operator.check("playground-problem")
    operator.channel(shop, "/playground?item=gone")
    expect(column(page, "Champion").get_by_role("alert")).to_contain_text("not in the catalogue: 'gone'")
    expect(page.locator("#history")).to_contain_text("not in the catalogue")
    operator.channel(shop, "/playground?v=77")
    expect(column(page, "Version 77").get_by_role("alert")).to_be_visible()
    operator.channel(shop, "/playground?count=x&pages=-1&v=y&is=what&item=i1")
    assert len(titles(page)) == 10


def test_another_champion_answers_otherwise(operator: Console, tried: Shop) -> None:
    page = operator.page
    operator.channel(tried, "/playground?item=i3&item=i7")
    before, challenger = titles(page), titles(page, "Challenger")
    tried.operator.post(f"{ADMIN}/releases/promote", json={"version": 1})
    wait_for(lambda: serves(tried.reader, 1))
    page.reload()
    assert titles(page) == challenger != before
    expect(column(page, "Champion")).to_contain_text("v1 · houlsby")
    expect(column(page, "Challenger")).to_have_count(0)
    # What answered before can be asked yet.
    page.get_by_label("Compare also with").select_option("0")
    expect(column(page, "Version 0")).to_be_visible()
    assert titles(page, "Version 0") == before


def test_odd_ids_and_hostile_titles(console: Console, odd: Shop) -> None:
    console.sign_in(key_of(odd.operator))
    page = console.page
    console.channel(odd, "/playground")
    add(page, "<img", HOSTILE)
    for n, item_id in enumerate(ODD):
        add(page, item_id, f"thing {n}")
    assert page.locator("#history input[name=item]").evaluate_all("all => all.map(each => each.value)") == [
        "h",
        *ODD,
    ]
    assert titles(page) == ["plain"]
    for item_id in ODD:
        console.channel(odd, f"/playground?{httpx.QueryParams({'item': 'p'})}")
        title = f"thing {ODD.index(item_id)}"
        page.get_by_role("button", name=f"Items similar to {title}").click()
        expect(page.locator("#similar")).to_contain_text(f"Similar to {item_id}")
        expect(page.locator("#similar li")).to_have_count(5)
    page.get_by_label("User", exact=True).press_sequentially("u/1")
    page.get_by_role("button", name="u/1 é").click()
    expect(page.locator("#history .title")).to_have_text(["plain", HOSTILE])
    assert page.locator("#playground img").count() == 0


def test_a_reader_plays_too_and_sees_no_users(console: Console, tried: Shop) -> None:
    console.sign_in(key_of(tried.reader))
    page = console.page
    console.channel(tried, "/playground")
    expect(page.get_by_role("button", name="Random user")).to_have_count(0)
    add(page, "i7", "thing 7 of kind 2")
    assert titles(page) == offered(tried, history=["i7"])
    expect(column(page, "Challenger")).to_have_count(0)
    page.get_by_label("User", exact=True).fill("u1")
    page.get_by_label("User", exact=True).press("Enter")
    expect(page.locator("#history")).to_contain_text("shown to operators only")
    assert titles(page) == offered(tried, user_id="u1")
    console.check("playground-reader")
    assert (
        page.request.get(f"{console.url}/admin/channels/{tried.tenant}/books/playground/users").status == 403
    )
    # Nor does asking count as traffic.
    assert tried.operator.get(f"{ADMIN}/online").json() == []


def test_an_empty_channel(console: Console, shop: Shop) -> None:
    console.sign_in(key_of(shop.operator))
    assert shop.operator.post("/v1/admin/channels", json={"name": "empty"}).is_success
    wait_for(lambda: shop.reader.get("/v1/channels/empty").json()["serving"]["release"])
    console.open(f"/channels/{shop.tenant}/empty/playground")
    expect(column(console.page, "Champion").get_by_role("alert")).to_contain_text("no items to answer with")
    console.page.get_by_role("button", name="Random user").click()
    expect(console.page.locator("#history")).to_contain_text("Nobody yet")
    send(shop.writer, "interactions", EVENTS)  # the other channel goes on
