"""Screenshots for the documentation: the demo's data, a trained champion, a challenger; `make screenshots`.

Takes about three minutes, most of it training. Writes docs/screenshots/*.png.
"""

import secrets
import shutil
import tempfile
from pathlib import Path
from typing import Any

from playwright.sync_api import Page, sync_playwright

from tests.browser.conftest import WIDE, chromium
from training.demo import MAIN, TRAINED, Api, free_port, load_data, pick_household, service, train

OUT = Path("docs/screenshots")
ADMIN = f"/v1/admin/channels/{TRAINED}"
TENANT = {"tenant": MAIN}
PAGES = {
    "overview": "/",
    "channel": f"/channels/{MAIN}/{TRAINED}",
    "data": f"/channels/{MAIN}/{TRAINED}/data",
    "training": f"/channels/{MAIN}/{TRAINED}/training",
    "releases": f"/channels/{MAIN}/{TRAINED}/releases",
    "playground": f"/channels/{MAIN}/{TRAINED}/playground?user={{user}}",
    "map": f"/channels/{MAIN}/{TRAINED}/map",
    "system": "/system",
}


def main() -> None:
    """Run the demo's service, train, look at every page."""
    home = Path(tempfile.mkdtemp(prefix="transrec-screenshots-"))
    operator = "tr_" + secrets.token_urlsafe(32)
    try:
        with service(home, free_port(), operator) as url, Api(url, operator) as api:
            load_data(api)
            train(api, 60)
            shown(api, url, operator)
    finally:
        shutil.rmtree(home, ignore_errors=True)


def shown(api: Api, url: str, operator: str) -> None:
    """Some traffic and a challenger, then the pages."""
    user = pick_household()
    ask: Any = lambda who: api(  # noqa: E731
        "POST", f"/v1/channels/{TRAINED}/recommendations", params=TENANT, json={"user_id": who}
    )
    api("PUT", f"{ADMIN}/releases/challenger", params=TENANT, json={"version": 0, "share": 0.2})
    for n in range(300):
        ask(f"visitor-{n}")
    OUT.mkdir(exist_ok=True)
    with sync_playwright() as playwright:
        browser = chromium(playwright)
        for scheme in ("light", "dark"):
            page = browser.new_page(viewport=WIDE, color_scheme=scheme, reduced_motion="reduce")  # type: ignore[arg-type]
            page.goto(f"{url}/admin/sign-in")
            page.get_by_label("API key").fill(operator)
            page.get_by_role("button", name="Sign in").click()
            page.wait_for_url(f"{url}/admin/")
            take(page, url, user, scheme)
        browser.close()


def take(page: Page, url: str, user: str, scheme: str) -> None:
    """Every page in light, the overview in dark too."""
    for name, path in PAGES.items():
        if scheme == "light" or name == "overview":
            page.goto(f"{url}/admin{path.format(user=user)}")
            page.wait_for_load_state("networkidle", timeout=10_000)
            page.screenshot(path=OUT / f"{name}{'' if scheme == 'light' else '-dark'}.png")


if __name__ == "__main__":
    main()
