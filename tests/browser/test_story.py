"""One story through the whole console: from an empty tenant to a release that is rolled back."""

import re
from dataclasses import dataclass
from uuid import uuid4

import httpx
import pytest
from playwright.sync_api import Locator, Page, expect

from tests.app.api.conftest import Shop
from tests.browser.conftest import Console, key_of
from tests.servers import wait_for
from tests.training.conftest import chains

CHANNEL, USER = "corner-shop", "u7"
TEXTS, MET = chains()
ITEMS = "item_id,text\n" + "".join(f"{item},{text}\n" for item, text in TEXTS.items())
BAD_ITEMS = f"{ITEMS},no id\ni99,\n"
INTERACTIONS = "user_id,item_id,timestamp\n" + "".join(
    f"{user},{item},{n}\n" for user, items in MET.items() for n, item in enumerate(items)
)


@dataclass
class Newcomer:
    """A new operator of an empty tenant, before the console; what they do, and see of it."""

    console: Console
    tenant: str
    key: str

    @property
    def page(self) -> Page:
        return self.console.page

    def is_refused_with_a_wrong_key(self) -> None:
        self.console.sign_in("tr_wrong")
        expect(self.page.get_by_role("alert")).to_contain_text("wrong, revoked or expired")
        self.console.check("story-wrong-key")

    def signs_in(self) -> None:
        self.console.sign_in(self.key)
        expect(self.page.get_by_role("heading", name="Make the first channel")).to_be_visible()
        self.console.check("story-nothing-yet")

    def makes_a_channel(self) -> None:
        self.page.get_by_role("button", name="New channel").click()
        self.page.get_by_label("Name", exact=True).fill(CHANNEL)
        self.page.get_by_role("button", name="Make it").click()
        expect(self.page.get_by_role("heading", name=CHANNEL)).to_be_visible()
        self.console.check("story-new-channel")

    def imports_a_file_with_bad_lines_and_sees_which(self) -> None:
        self.page.get_by_role("link", name="Import items").click()
        report = self._sends("items.csv", BAD_ITEMS)
        expect(report.get_by_role("heading")).to_have_text("2 of 26 lines are bad")
        expect(report.locator("tbody tr").nth(0)).to_contain_text("26the item_id is empty")
        expect(report.locator("tbody tr").nth(1)).to_contain_text("27the text is empty")
        expect(self.page.locator("#facts dd").first).to_have_text("0")
        self.console.check("story-bad-lines")

    def imports_the_corrected_files(self) -> None:
        report = self._sends("items.csv", ITEMS)
        expect(report.get_by_role("heading")).to_have_text("24 lines of items imported")
        report = self._sends("interactions.csv", INTERACTIONS)
        expect(report.get_by_role("heading")).to_have_text("480 lines of interactions imported")
        expect(self.page.locator("#statistics")).to_contain_text("60")
        self.console.check("story-data")

    def trains(self, method: str, epochs: int) -> None:
        """Train a version, and see its curve move until the job has ended."""
        self._opens("Training")
        self.page.get_by_role("radio", name=re.compile(f"^{method} ")).check()
        self.page.get_by_label("Then").select_option("version")
        self.page.get_by_text("More: epochs").click()
        knobs = {"Epochs at most": epochs, "Patience": epochs, "Warm-up": 0, "Batch": 8, "Learning": 0.005}
        for label, value in knobs.items():
            self.page.get_by_label(label).fill(str(value))
        self.page.get_by_role("button", name="Start training").click()
        points = self.page.locator("#loss-table tbody tr")
        expect(points.first).to_be_attached(timeout=30_000)
        before = points.count()  # all of them, where training was faster than a look
        wait_for(lambda: points.count() > before or before == epochs, 30)
        expect(self.page.locator("#loss canvas")).to_be_visible()
        self.console.check("story-training")
        expect(self.page.get_by_role("heading", name="Quality gate")).to_be_visible(timeout=30_000)
        expect(points).to_have_count(epochs)
        self.console.check("story-trained")

    def promotes(self, version: int) -> None:
        self._opens("Releases")
        self.page.get_by_role("button", name=f"Promote version {version}").click()
        self.page.get_by_role("dialog").get_by_role("button", name="Promote").click()
        expect(self.page.locator(f"#v{version}")).to_contain_text("champion")
        self.console.check(f"story-promoted-{version}")

    def rolls_back_to(self, version: int) -> None:
        self._opens("Releases")
        self.page.get_by_role("button", name=f"Roll back to version {version}").click()
        self.page.get_by_role("dialog").get_by_role("button", name="Roll back").click()
        expect(self.page.locator(f"#v{version}")).to_contain_text("champion")
        self.console.check("story-rolled-back")

    def is_recommended(self, by: int) -> list[str]:
        """What the playground shows of the user, as soon as that version answers: items with their scores."""
        self._opens("Playground")
        self.page.get_by_label("User", exact=True).fill(USER)
        self.page.get_by_label("User", exact=True).press("Enter")
        expect(self.page.locator("#history")).to_contain_text("Met lately")
        champion = self.page.get_by_role("region", name="Champion")
        wait_for(lambda: self.page.reload() and champion.get_by_text(re.compile(rf"^v{by} ·")).count())
        self.console.check(f"story-playground-{by}")
        shown = champion.locator(".answers li")
        return [
            f"{row.locator('.title').inner_text()} {row.get_by_title('score').inner_text()}"
            for row in shown.all()
        ]

    def signs_out(self) -> None:
        self.page.get_by_role("button", name="Sign out").click()
        expect(self.page.get_by_label("API key")).to_be_visible()

    def has_nothing_that_is_seen_by(self, stranger: Shop) -> None:
        self.console.sign_in(key_of(stranger.operator))
        expect(self.page.locator("tbody th")).to_have_text(["books"])
        self.console.check("story-another-tenant")
        pages = [
            f"/channels/{self.tenant}/{CHANNEL}{tab}" for tab in ("", "/data", "/releases", "/playground")
        ]
        for path in [*pages, f"/tenants/{self.tenant}"]:
            answer = self.page.goto(f"{self.console.url}/admin{path}")
            assert answer is not None
            assert answer.status == 404
            expect(self.page.get_by_role("heading", name="Not found")).to_be_visible()
        self.console.check("story-not-found")
        self.console.open("/audit")
        expect(self.page.get_by_role("row").nth(1)).to_be_visible()
        expect(self.page.get_by_text(CHANNEL)).to_have_count(0)

    def _opens(self, tab: str) -> None:
        self.page.get_by_role("navigation", name=CHANNEL).get_by_role("link", name=tab).click()
        expect(self.page.get_by_role("heading", level=1, name=tab)).to_be_visible()

    def _sends(self, name: str, csv: str) -> Locator:
        self.page.get_by_label("File: drop it here").set_input_files(
            {"name": name, "mimeType": "text/csv", "buffer": csv.encode()}
        )
        self.page.get_by_role("button", name="Import").click()
        return self.page.locator("#import-said")


@pytest.fixture
def newcomer(console: Console, platform: httpx.Client) -> Newcomer:
    tenant = f"new-{uuid4().hex[:8]}"
    assert platform.post("/v1/admin/tenants", json={"name": tenant}).is_success
    made = platform.post(f"/v1/admin/tenants/{tenant}/keys", json={"role": "operator"}).json()
    return Newcomer(console, tenant, made["secret"])


def test_from_an_empty_tenant_to_a_release_that_is_rolled_back(newcomer: Newcomer, shop: Shop) -> None:
    newcomer.is_refused_with_a_wrong_key()
    newcomer.signs_in()
    newcomer.makes_a_channel()
    newcomer.imports_a_file_with_bad_lines_and_sees_which()
    newcomer.imports_the_corrected_files()

    newcomer.trains("houlsby", epochs=12)
    newcomer.promotes(1)
    first = newcomer.is_recommended(by=1)
    assert len(first) == 10

    newcomer.trains("lora", epochs=10)
    newcomer.promotes(2)
    assert newcomer.is_recommended(by=2) != first

    newcomer.rolls_back_to(1)
    assert newcomer.is_recommended(by=1) == first

    newcomer.signs_out()
    newcomer.has_nothing_that_is_seen_by(shop)
