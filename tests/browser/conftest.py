"""A real Chromium before a real service, with its worker and the tiny backbone.

A test fails when a page writes an error to the browser's console, or breaks its own content-security policy.
"""

import os
import shutil
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, ConsoleMessage, Page, Playwright, sync_playwright

from tests.app.api.conftest import OPERATOR, Shop, client, new_shop
from tests.servers import Service, Worker

CHROMIUM = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
WIDE, PHONE = {"width": 1280, "height": 900}, {"width": 390, "height": 844}


@dataclass(frozen=True)
class Console:
    """A page of the console at a running service."""

    url: str
    page: Page

    def open(self, path: str = "/") -> None:
        """Open a page of the console; it must answer and be signed in."""
        answer = self.page.goto(f"{self.url}/admin{path}")
        assert answer is not None
        assert answer.ok, answer.text()
        assert "/sign-in" not in self.page.url

    def sign_in(self, key: str) -> None:
        """Sign in with a key."""
        self.page.goto(f"{self.url}/admin/sign-in")
        self.page.get_by_label("API key").fill(key)
        self.page.get_by_role("button", name="Sign in").click()

    def channel(self, shop: Shop, tab: str = "") -> None:
        """Open a page of a shop's channel."""
        self.open(f"/channels/{shop.tenant}/books{tab}")

    def check(self, name: str) -> None:
        """Look at the page as it is: usable for everybody by axe, at phone width nothing sticks out.

        A screenshot is kept under $SCREENSHOTS, if that is set.
        """
        found = Axe().run(self.page)
        assert found.violations_count == 0, found.generate_report()
        self.page.set_viewport_size(PHONE)  # type: ignore[arg-type]
        assert self.page.evaluate("document.documentElement.scrollWidth <= innerWidth"), f"{name} is too wide"
        self.shoot(f"{name}-phone")
        self.page.set_viewport_size(WIDE)  # type: ignore[arg-type]
        self.shoot(name)

    def shoot(self, name: str) -> None:
        """Keep a picture of the page under $SCREENSHOTS, if that is set."""
        if folder := os.environ.get("SCREENSHOTS"):
            self.page.screenshot(path=Path(folder) / f"{name}.png", full_page=True)


@pytest.fixture(scope="session")
def site(
    tmp_path_factory: pytest.TempPathFactory, valkey_server: str, backbone_folder: Path
) -> Iterator[str]:
    """The URL of a service with a training worker."""
    folder = tmp_path_factory.mktemp("site")
    settings = {
        "TRANSREC_HOME": str(folder / "home"),
        "TRANSREC_REDIS_URL": valkey_server,
        "TRANSREC_BACKBONE": str(backbone_folder),
        "TRANSREC_OPERATOR_KEY": OPERATOR,
        "TRANSREC_POLL_SECONDS": "0.5",
    }
    with ExitStack() as stack:
        service = Service(folder / "home", settings)
        stack.callback(service.stop)
        service.start()
        worker = Worker(settings, folder / "worker.log")
        stack.callback(worker.stop)
        worker.start()
        yield service.url


@pytest.fixture
def shop(site: str) -> Iterator[Shop]:
    """A tenant of its own, with a channel `books`."""
    with client(site, OPERATOR) as platform, new_shop(site, platform) as opened:
        yield opened


@pytest.fixture
def platform(site: str) -> Iterator[httpx.Client]:
    """The API with the platform operator's key."""
    with client(site, OPERATOR) as opened:
        yield opened


@pytest.fixture(scope="package")  # Playwright's event loop runs in this thread: no other test may have one
def browser() -> Iterator[Browser]:
    """The system's Chromium."""
    with sync_playwright() as playwright:
        launched = chromium(playwright)
        yield launched
        launched.close()


def chromium(playwright: Playwright) -> Browser:
    """Start the system's Chromium; skips the test where there is none."""
    found = next(filter(None, map(shutil.which, CHROMIUM)), None)
    if found is None:
        pytest.skip("no Chromium is installed; `make browser` installs it")
    # Chromium's own sandbox needs rights that root in a container does not have.
    return playwright.chromium.launch(executable_path=found, chromium_sandbox=os.getuid() != 0)


@pytest.fixture
def console(browser: Browser, site: str) -> Iterator[Console]:
    """A fresh browser window; nothing it says on its console may be an error."""
    errors: list[str] = []

    def said(message: ConsoleMessage) -> None:
        # That an answer was a 4xx is what some tests are about.
        if message.type == "error" and "the server responded with a status of 4" not in message.text:
            errors.append(message.text)

    context = browser.new_context(viewport=WIDE)  # type: ignore[arg-type]
    page = context.new_page()
    page.on("console", said)
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.set_default_timeout(15_000)
    yield Console(site, page)
    context.close()
    assert errors == []


@pytest.fixture
def operator(console: Console, shop: Shop) -> Console:
    """The console, signed in with the shop's operator key."""
    console.sign_in(key_of(shop.operator))
    return console


def key_of(api: httpx.Client) -> str:
    """The key that a client sends."""
    return api.headers["Authorization"].removeprefix("Bearer ")
