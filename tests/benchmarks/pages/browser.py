"""Pages in Chromium with nothing cached: what is transferred, and when one can do something with it.

Bytes are those of the network, compressed and with headers; what a page asks for by itself counts.
"""

import os
import shutil
import statistics
from typing import Any

from playwright.sync_api import Browser, sync_playwright

from tests.benchmarks.pages.places import Place
from tests.benchmarks.pages.wire import COOKIE
from tests.browser.conftest import CHROMIUM, WIDE

LONGEST_MS = 120_000
SETTLE_MS = 1000  # after the network has been silent for half a second
# Before the page's own scripts. A long task is 50 ms or more in which no click is answered.
WATCH = """
window.seen = { lcp: 0, busy: 0, blocked: 0 };
new PerformanceObserver((list) => { for (const e of list.getEntries()) seen.lcp = e.startTime; })
  .observe({ type: "largest-contentful-paint", buffered: true });
new PerformanceObserver((list) => {
  for (const e of list.getEntries()) {
    seen.busy = e.startTime + e.duration;
    seen.blocked += e.duration - 50;
  }
}).observe({ type: "longtask", buffered: true });
"""
READ = """() => {
  const page = performance.getEntriesByType("navigation")[0];
  return { dom: page.domInteractive, ready: page.domContentLoadedEventEnd, load: page.loadEventEnd, ...seen };
}"""


def look(url: str, cookie: str, pages: list[Place], rounds: int) -> None:
    """Print a table of the pages: the median of so many looks at each."""
    found = next(filter(None, map(shutil.which, CHROMIUM)), None)
    if found is None:
        print("\nNo Chromium is installed; `make browser` installs it.")
        return
    print("\n| page, nothing cached | KB transferred | requests | DOM interactive, ms |", end="")
    print(" interactive, ms | blocked, ms | load, ms | LCP, ms |\n|---|---:|---:|---:|---:|---:|---:|---:|")
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=found, chromium_sandbox=os.getuid() != 0)
        for place in pages:
            seen = [_open(chromium, url, cookie, place.path) for _ in range(rounds)]
            mid = {key: statistics.median(one[key] for one in seen) for key in seen[0]}
            # No click is answered before the scripts have run, nor in a long task.
            ready = statistics.median(max(one["ready"], one["busy"]) for one in seen)
            print(
                f"| {place.name} | {mid['bytes'] / 1e3:.0f} | {mid['requests']:.0f} | {mid['dom']:.0f} |"
                f" {ready:.0f} | {mid['blocked']:.0f} | {mid['load']:.0f} | {mid['lcp']:.0f} |"
            )
        chromium.close()


def _open(chromium: Browser, url: str, cookie: str, path: str) -> dict[str, float]:
    context = chromium.new_context(viewport=WIDE)  # type: ignore[arg-type]
    context.add_cookies([{"name": COOKIE, "value": cookie, "url": f"{url}/admin"}])
    page = context.new_page()
    page.add_init_script(WATCH)
    sizes: dict[str, float] = {}
    asked: list[Any] = []
    network = context.new_cdp_session(page)
    network.on("Network.requestWillBeSent", lambda event: asked.append(event))
    network.on("Network.loadingFinished", lambda e: sizes.update({e["requestId"]: e["encodedDataLength"]}))
    network.send("Network.enable")
    answer = page.goto(f"{url}{path}", wait_until="networkidle", timeout=LONGEST_MS)
    assert answer is not None
    assert answer.ok, path
    page.wait_for_timeout(SETTLE_MS)
    found: dict[str, Any] = page.evaluate(READ)
    context.close()
    # What a style sheet holds as data goes over no network.
    requests = {event["requestId"] for event in asked if not event["request"]["url"].startswith("data:")}
    return found | {"bytes": sum(sizes.values()), "requests": len(requests)}
