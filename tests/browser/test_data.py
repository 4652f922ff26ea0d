"""A channel's data: files that are refused and taken, items found and changed, what is told of them."""

import csv
import re
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import Page, expect

from tests.app.api.conftest import OPERATOR, Shop, is_problem, new_shop, wait_for
from tests.browser.conftest import Console, key_of
from tests.fakes import build_backbone, picture
from tests.servers import Service

LIMIT = 3 * 1024**2
BAD = "item_id,text\nn1,good\n,no id\nn3,\nn4,fine\nn1,another text\n"
HOSTILE = "<img src=x onerror=\"document.title='hacked'\">"


@pytest.fixture(scope="module")
def site(
    tmp_path_factory: pytest.TempPathFactory, valkey_server: str, backbone_folder: Path
) -> Iterator[str]:
    """A service that takes small uploads only, with a backbone for images too."""
    folder = tmp_path_factory.mktemp("data")
    build_backbone(folder / "vit", "vit")
    settings = {
        "TRANSREC_HOME": str(folder / "home"),
        "TRANSREC_REDIS_URL": valkey_server,
        "TRANSREC_BACKBONE": str(backbone_folder),
        "TRANSREC_IMAGE_BACKBONE": str(folder / "vit"),
        "TRANSREC_OPERATOR_KEY": OPERATOR,
        "TRANSREC_MAX_UPLOAD_BYTES": str(LIMIT),
        "TRANSREC_POLL_SECONDS": "0.5",
    }
    with ExitStack() as stack:
        service = Service(folder / "home", settings)
        stack.callback(service.stop)
        service.start()
        yield service.url


def choose(page: Page, name: str, content: bytes) -> None:
    page.get_by_label("File: drop it here").set_input_files(
        {"name": name, "mimeType": "application/octet-stream", "buffer": content}
    )


def send(page: Page) -> None:
    page.get_by_role("button", name="Import").click()


def test_a_file_with_bad_lines_is_reported_line_by_line(
    operator: Console, shop: Shop, tmp_path: Path
) -> None:
    page = operator.page
    operator.channel(shop, "/data")
    choose(page, "books.csv", BAD.encode())
    expect(page.get_by_label("Format")).to_have_value("csv")
    send(page)
    report = page.locator("#import-said")
    expect(report.get_by_role("heading")).to_have_text("3 of 5 lines are bad")
    rows = report.locator("tbody tr")
    expect(rows).to_have_count(3)
    expect(rows.nth(0)).to_contain_text("3the item_id is empty")
    expect(rows.nth(2)).to_contain_text("is on line 2 already")
    expect(report).to_contain_text("import the whole file again")
    expect(page.locator("#imports")).to_contain_text("3 bad")
    operator.check("data-bad-lines")
    with page.expect_download() as download:
        report.get_by_role("link", name="as CSV").click()
    download.value.save_as(tmp_path / "bad.csv")
    lines = list(csv.reader((tmp_path / "bad.csv").read_text().splitlines()))
    assert [line[0] for line in lines] == ["line", "3", "4", "6"]
    choose(page, "books.csv", b"item_id,text\nn1,good\nn4,fine\n")
    send(page)
    expect(report.get_by_role("heading")).to_have_text("2 lines of items imported")
    expect(page.locator("#facts")).to_contain_text("32")
    page.get_by_role("button", name=re.compile("^Report of items")).nth(1).click()
    expect(page.locator("#past-report")).to_contain_text("3 of 5 lines are bad")


def test_the_name_says_the_format_and_what_is_in_it(operator: Console, shop: Shop) -> None:
    page = operator.page
    operator.channel(shop, "/data")
    choose(page, "clicks.jsonl.gz", b"")
    expect(page.get_by_label("Interactions", exact=True)).to_be_checked()
    expect(page.get_by_label("Format")).to_have_value("jsonl")
    choose(page, "events.csv", b"user_id,item_id,timestamp\nu9,i1,5\nu9,nowhere,5\n")
    send(page)
    expect(page.locator("#import-said")).to_contain_text("item 'nowhere' is not in the catalogue")
    choose(page, "events.csv", b"user_id,item_id,timestamp\nu9,i1,5\n")
    send(page)
    expect(page.locator("#import-said")).to_contain_text("1 line of interactions imported")
    expect(page.locator("#facts")).to_contain_text("25")
    expect(page.locator("#statistics")).to_contain_text("4")


def test_a_file_can_be_dropped(operator: Console, shop: Shop) -> None:
    page = operator.page
    operator.channel(shop, "/data")
    dropped = page.evaluate_handle(
        """() => {
            const dropped = new DataTransfer();
            dropped.items.add(new File(['{"item_id": "z", "text": "dropped"}'], "more.ndjson"));
            return dropped;
        }"""
    )
    page.locator("[data-drop]").first.dispatch_event("drop", {"dataTransfer": dropped})
    expect(page.get_by_label("Format")).to_have_value("jsonl")
    send(page)
    expect(page.locator("#import-said")).to_contain_text("1 line of items imported")


def test_another_site_imports_nothing(operator: Console, shop: Shop) -> None:
    operator.channel(shop, "/data")
    address = f"{operator.page.url}/imports?kind=items&format=csv"
    for headers in ({}, {"X-CSRF-Token": "guessed"}, {"Origin": "https://evil.example"}):
        answer = operator.page.request.post(address, data=b"item_id,text\nz,z\n", headers=headers)
        assert answer.status == 403
    assert len(shop.reader.get("/v1/channels/books/imports").json()) == 2


def test_a_big_file_shows_how_far_it_is(operator: Console, shop: Shop) -> None:
    page = operator.page
    operator.channel(shop, "/data")
    rows = "".join(f"big{n},{'x' * 1000} {n}\n" for n in range(2000))
    choose(page, "big.csv", f"item_id,text\n{rows}".encode())
    network = page.context.new_cdp_session(page)
    slow = {"offline": False, "latency": 0, "downloadThroughput": -1, "uploadThroughput": 700_000}
    network.send("Network.enable")
    network.send("Network.emulateNetworkConditions", slow)
    send(page)
    status = page.locator("[data-progress] [role=status]")
    expect(status).to_have_text(re.compile(r"^[1-9]\d? % of 1.9 MiB$"))
    assert 0 < float(page.locator("progress").evaluate("bar => bar.value")) < 1
    expect(page.get_by_role("button", name="Import")).to_be_disabled()
    operator.check("data-progress")
    expect(page.locator("#import-said")).to_contain_text("2,000 lines of items imported", timeout=60_000)
    expect(page.locator("[data-progress]")).to_be_hidden()


def test_an_upload_can_be_cancelled(operator: Console, shop: Shop) -> None:
    page = operator.page
    operator.channel(shop, "/data")
    choose(page, "big.csv", b"item_id,text\n" + b"x" * 2 * 1024**2)
    network = page.context.new_cdp_session(page)
    slow = {"offline": False, "latency": 0, "downloadThroughput": -1, "uploadThroughput": 100_000}
    network.send("Network.emulateNetworkConditions", slow)
    send(page)
    page.get_by_role("button", name="Cancel").click()
    expect(page.locator("#notices")).to_contain_text("cancelled")
    expect(page.get_by_role("button", name="Import")).to_be_enabled()


def test_a_file_beyond_the_limit_is_refused(operator: Console, shop: Shop) -> None:
    page = operator.page
    operator.channel(shop, "/data")
    choose(page, "huge.csv", b"item_id,text\n" + b"n,x\n" * LIMIT)
    send(page)
    expect(page.locator("#import-said").get_by_role("alert")).to_contain_text(f"{LIMIT}")
    operator.check("data-too-large")
    choose(page, "wrong.parquet", b"no parquet")
    send(page)
    expect(page.locator("#import-said").get_by_role("alert")).to_contain_text("Parquet", ignore_case=True)


def test_items_are_found_added_changed_and_deleted(operator: Console, shop: Shop) -> None:
    page = operator.page
    texts = {"100%": "ALL of it", "a_b": "under_score", "ab/1": HOSTILE}
    items = [{"item_id": item_id, "text": text} for item_id, text in texts.items()]
    assert shop.writer.post("/v1/channels/books/items", json={"items": items}).is_success
    operator.channel(shop, "/data")
    rows = page.locator("#items tbody tr")
    expect(rows).to_have_count(25)
    page.locator("#items").get_by_role("button", name="Next page").click()
    expect(rows).to_have_count(8)
    page.locator("#items").get_by_role("button", name="First page").click()
    expect(rows).to_have_count(25)
    search = page.get_by_label("Search")
    for text, found in (("%", "100%"), ("_", "a_b"), ("all OF", "100%"), ("<img", "ab/1")):
        search.fill(text)
        expect(rows).to_have_count(1)
        expect(rows.get_by_role("rowheader")).to_have_text(found)
    expect(rows).to_contain_text(HOSTILE)  # as text, not as a picture
    search.fill("no such")
    expect(page.locator("#items")).to_contain_text("No item's id or text")
    search.fill("")

    page.get_by_role("button", name="Add an item").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_label("Id").fill("i1")
    dialog.get_by_label("Text").fill("a new thing")
    dialog.get_by_role("button", name="Add").click()
    expect(dialog.get_by_role("alert")).to_contain_text("There is an item 'i1' already")
    dialog.get_by_label("Id").fill("new/1")
    dialog.get_by_label("Attributes").fill("{colour: red}")
    dialog.get_by_role("button", name="Add").click()
    expect(dialog.get_by_role("alert")).to_contain_text("not JSON")
    operator.check("data-dialog")
    dialog.get_by_label("Attributes").fill('{"colour": "red", "price": 2.5}')
    dialog.get_by_role("button", name="Add").click()
    expect(dialog).to_be_hidden()
    expect(page.locator("#notices")).to_contain_text("new/1 is stored")
    assert shop.reader.get("/v1/channels/books/items/new%2F1").json()["attributes"] == {
        "colour": "red",
        "price": 2.5,
    }

    search.fill("new/1")
    expect(rows).to_have_count(1)
    page.get_by_role("button", name="Edit new/1").click()
    dialog.get_by_label("Text").fill("")
    dialog.get_by_label("Text").fill("changed")
    dialog.get_by_role("button", name="Save").click()
    expect(rows).to_contain_text("changed")
    page.get_by_role("button", name="Delete new/1").click()
    dialog.get_by_label("Type the item's id").fill("something")
    dialog.get_by_role("button", name="Delete").click()
    expect(dialog.get_by_role("alert")).to_contain_text("Type new/1")
    operator.check("data-delete")
    dialog.get_by_label("Type the item's id").fill("new/1")
    dialog.get_by_role("button", name="Delete").click()
    expect(dialog).to_be_hidden()
    expect(page.locator("#items")).to_contain_text("No item's id or text")
    assert is_problem(shop.reader.get("/v1/channels/books/items/new%2F1"), 404)


def test_what_the_data_is_like(operator: Console, shop: Shop) -> None:
    page = operator.page
    days = "".join(f"u{n % 7},i{n % 9 * (n % 3)},{1_700_000_000 + n * 40_000}\n" for n in range(90))
    path = "/v1/channels/books/imports?kind=interactions&format=csv"
    assert shop.writer.post(path, content=f"user_id,item_id,timestamp\n{days}").status_code == 201
    operator.channel(shop, "/data")
    statistics = page.locator("#statistics")
    expect(statistics).to_contain_text("Cold items")
    expect(statistics.locator("canvas")).to_have_count(3)
    expect(statistics.get_by_role("heading", name="Most frequent items")).to_be_visible()
    operator.check("data")
    page.emulate_media(color_scheme="dark")
    page.reload()
    expect(statistics.locator("canvas")).to_have_count(3)
    operator.check("data-dark")


def test_a_reader_sees_and_changes_nothing(console: Console, shop: Shop) -> None:
    console.sign_in(key_of(shop.reader))
    console.channel(shop, "/data")
    page = console.page
    expect(page.locator("#items tbody tr")).to_have_count(25)
    for name in ("Import", "Add an item", re.compile("^Edit"), re.compile("^Delete")):
        expect(page.get_by_role("button", name=name, exact=True)).to_have_count(0)


def test_another_tenants_data_is_nowhere(operator: Console, site: str, platform: httpx.Client) -> None:
    with new_shop(site, platform) as other:
        for path in ("/data", "/map", "/data/items", "/data/statistics", "/items/i1/image"):
            answer = operator.page.goto(f"{operator.url}/admin/channels/{other.tenant}/books{path}")
            assert answer is not None
            assert answer.status == 404


def test_images_are_shown_and_nothing_else(operator: Console, shop: Shop, platform: httpx.Client) -> None:
    page = operator.page
    assert shop.operator.post("/v1/admin/channels", json={"name": "films", "modality": "image"}).is_success
    operator.open(f"/channels/{shop.tenant}/films/data")
    expect(page.get_by_text("There are no items yet")).to_be_visible()
    operator.check("data-empty")
    items = "item_id,text\n" + "".join(f"m{n},film {n}\n" for n in range(6))
    shop.writer.post("/v1/channels/films/imports?kind=items&format=csv", content=items)
    for n in range(5):
        assert shop.writer.put(f"/v1/channels/films/items/m{n}/image", content=picture(n)).is_success
    operator.open(f"/channels/{shop.tenant}/films/data")
    expect(page.locator("#items img")).to_have_count(5)
    page.locator("#items img").first.scroll_into_view_if_needed()
    wait_for(lambda: page.locator("#items img").first.evaluate("image => image.naturalWidth") == 8)
    operator.check("data-images")
    address = f"{operator.url}/admin/channels/{shop.tenant}/films/items/m1/image"
    answer = page.request.get(address)
    assert answer.body() == picture(1)
    assert answer.headers["content-type"] == "image/png"
    assert answer.headers["x-content-type-options"] == "nosniff"
    again = page.request.get(address, headers={"If-None-Match": answer.headers["etag"]})
    assert (again.status, again.body()) == (304, b"")
    assert page.request.get(f"{operator.url}/admin/channels/{shop.tenant}/films/items/m5/image").status == 404

    page.get_by_role("button", name="Edit m5").click()
    dialog = page.get_by_role("dialog")
    for content, said in ((b"<svg/>", "JPEG"), (picture(5), "The image is stored.")):
        file = {"name": "m5.png", "mimeType": "image/png", "buffer": content}
        dialog.get_by_label("Image, a JPEG").set_input_files(file)  # type: ignore[arg-type]
        dialog.get_by_role("button", name="Set the image").click()
        expect(dialog.locator("#image-said")).to_contain_text(said)
    operator.check("data-image-dialog")
    dialog.get_by_role("button", name="Close").click()
    expect(page.locator("#items img")).to_have_count(6)

    # One goes alone; the item stays.
    page.get_by_role("button", name="Edit m5").click()
    dialog.locator("summary", has_text="Delete the image").click()
    operator.check("data-image-delete")
    dialog.get_by_role("button", name="Delete the image").click()
    expect(dialog.locator("#image-said")).to_contain_text("The image is deleted.")
    expect(page.locator("#items img")).to_have_count(5)
    dialog.get_by_role("button", name="Delete the image").click()
    expect(dialog.get_by_role("alert")).to_contain_text("no image")
    dialog.get_by_role("button", name="Close").click()
    page.get_by_role("button", name="Edit m5").click()
    expect(dialog.locator("summary")).to_have_count(0)
    assert is_problem(shop.reader.get("/v1/channels/films/items/m5/image"), 404)
    assert shop.reader.get("/v1/channels/films/items/m5").json()["text"] == "film 5"
    audit = shop.operator.get("/v1/admin/audit?action=delete_image&channel=films").json()
    assert [entry["status"] for entry in audit] == [404, 204]
