"""Processes that ask each other for their metrics."""

import os
import signal
import subprocess
import sys
from pathlib import Path

from app.core.siblings import Siblings

OTHER = (
    "import sys, time; from pathlib import Path; from app.core.siblings import Siblings;"
    "mine = Siblings(Path(sys.argv[1]), lambda: b'from the other' * 20_000);"
    "print(mine.number, flush=True); time.sleep(600)"
)


def started(folder: Path) -> tuple[subprocess.Popen[str], int]:
    process = subprocess.Popen([sys.executable, "-c", OTHER, str(folder)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    return process, int(process.stdout.readline())


def test_each_asks_the_others_and_a_number_is_free_again(tmp_path: Path) -> None:
    mine = Siblings(tmp_path, lambda: b"from me")
    assert (mine.number, list(mine.others())) == (0, [])
    first, number = started(tmp_path)
    assert number == 1
    assert list(mine.others()) == [(1, b"from the other" * 20_000)]
    os.kill(first.pid, signal.SIGKILL)
    first.communicate()
    assert list(mine.others()) == []  # its socket is still there
    second, number = started(tmp_path)
    assert number == 1
    assert [n for n, _ in mine.others()] == [1]
    second.kill()
    second.communicate()
