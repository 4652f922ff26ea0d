"""How much memory a process has."""

import subprocess
import sys

from app.core.memory import resident_bytes


def test_a_process_grows_by_what_it_takes() -> None:
    before = resident_bytes()
    assert before is not None
    held = bytearray(64 * 1024**2)
    held[::4096] = b"x" * len(held[::4096])
    after = resident_bytes()
    assert after is not None
    assert after - before > 50 * 1024**2


def test_a_process_that_has_ended_has_none() -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
        assert resident_bytes(child.pid)
        child.communicate(b"\n")
    assert resident_bytes(child.pid) is None
