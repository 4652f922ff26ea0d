"""The API processes of one `transrec serve --workers N`: each can ask the others for its metrics' text.

They share a port, so a scrape reaches any one of them. Each listens on a Unix socket in a private folder that
`serve` makes, under a number of its own, which is free again when the process has gone.
"""

import fcntl
import logging
import os
import socket
import threading
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from typing import IO

log = logging.getLogger(__name__)
FOLDER = "_TRANSREC_SIBLINGS"  # environment variable that `serve` hands to its processes; no setting
PATIENCE = 2.0  # seconds that a scrape waits for each sibling


class Siblings:
    """Answers the others with `text()`, in a thread, until the process ends."""

    def __init__(self, folder: Path, text: Callable[[], bytes]) -> None:
        self._folder, self._text = folder, text
        self.number, self._held = _free_number(folder)
        path = folder / f"{self.number}.socket"
        path.unlink(missing_ok=True)  # of the process that had this number before
        self._listening = socket.socket(socket.AF_UNIX)
        self._listening.bind(str(path))
        self._listening.listen()
        threading.Thread(target=self._run, name="siblings", daemon=True).start()

    def others(self) -> Iterator[tuple[int, bytes]]:
        """Number and text of every sibling that answers."""
        for path in sorted(self._folder.glob("*.socket")):
            number = int(path.stem)
            if number != self.number and (text := _asked(path)):
                yield number, text

    def _run(self) -> None:
        while True:
            asking, _ = self._listening.accept()
            with asking:
                asking.settimeout(PATIENCE)
                try:
                    asking.sendall(self._text())
                except Exception:
                    log.exception("a sibling was not answered")


def siblings_folder() -> Path | None:
    """Where the siblings meet; None for a process that has none."""
    folder = os.environ.get(FOLDER)
    return Path(folder) if folder else None


def _free_number(folder: Path) -> tuple[int, IO[str]]:
    for number in count():
        file = (folder / f"{number}.lock").open("w")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.close()
        else:
            return number, file
    raise AssertionError("never reached")


def _asked(path: Path) -> bytes:
    try:
        with socket.socket(socket.AF_UNIX) as s:
            s.settimeout(PATIENCE)
            s.connect(str(path))
            return b"".join(iter(lambda: s.recv(65_536), b""))
    except OSError:  # it has just ended, or hangs
        return b""
