"""Pages over HTTP: how long each takes to come whole, and how many bytes that is."""

import statistics
import time
from dataclasses import dataclass

import httpx

from tests.benchmarks.load.progress import say
from tests.benchmarks.pages.places import Place

OK, NOT_FOUND = 200, 404
COOKIE = "transrec_session"


@dataclass(frozen=True)
class Fetched:
    """A page that came whole."""

    seconds: float
    wire: int  # bytes as they came, compressed
    plain: int


class Wire:
    """Somebody who has signed in at a service."""

    def __init__(self, url: str, key: str) -> None:
        self._client = httpx.Client(base_url=url, timeout=120)
        answer = self._client.post("/admin/sign-in", data={"key": key})
        assert answer.status_code == httpx.codes.SEE_OTHER, answer.text
        self.cookie = answer.cookies[COOKIE]

    def __enter__(self) -> "Wire":
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()

    def is_there(self, place: Place) -> bool:
        """Whether the service has the page; says so where not. Any other failure ends the run."""
        answer = self._client.get(place.path)
        if answer.status_code == NOT_FOUND:
            say(f"skipped, there is no such page: {place.name} ({place.path})")
            return False
        assert answer.status_code == OK, f"{place.path}: {answer.status_code} {answer.text[:300]}"
        return True

    def fetch(self, path: str) -> Fetched:
        """Get a page whole, once."""
        started = time.perf_counter()
        answer = self._client.get(path)
        seconds = time.perf_counter() - started
        assert answer.status_code == OK, f"{path}: {answer.status_code}"
        return Fetched(seconds, answer.num_bytes_downloaded, len(answer.content))

    def table(self, pages: list[Place], rounds: int) -> None:
        """Print the table: every page in turn, so many times."""
        found: dict[str, list[Fetched]] = {place.name: [] for place in pages}
        for _ in range(rounds):
            for place in pages:
                found[place.name].append(self.fetch(place.path))
        print("| page | median, ms | p95, ms | KB over the wire | KB of HTML |\n|---|---:|---:|---:|---:|")
        for name, fetched in found.items():
            ms = sorted(1000 * each.seconds for each in fetched)
            p95 = ms[min(len(ms) - 1, round(0.95 * len(ms)))]
            last = fetched[-1]
            print(f"| {name} | {statistics.median(ms):.0f} | {p95:.0f} | {last.wire / 1e3:.1f} |", end="")
            print(f" {last.plain / 1e3:.0f} |")
