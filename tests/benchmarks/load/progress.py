"""Progress on stderr, so that stdout holds the tables alone; plain lines read well in a log file too."""

import sys
import time
from collections.abc import Iterator

EVERY_SECONDS = 5.0
_start = time.monotonic()


def say(text: str) -> None:
    """A line with the seconds since the start."""
    print(f"[{time.monotonic() - _start:6.1f} s] {text}", file=sys.stderr, flush=True)


class Steps:
    """Counts from 0, saying now and then how far it has come."""

    def __init__(self, label: str, total: int) -> None:
        self.label, self.total = label, total

    def __iter__(self) -> Iterator[int]:
        """0 ... total - 1."""
        said = time.monotonic()
        say(self.label)
        for number in range(self.total):
            if time.monotonic() - said > EVERY_SECONDS:
                said = time.monotonic()
                say(f"{self.label}: {number:,} of {self.total:,}")
            yield number
