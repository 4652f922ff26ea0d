"""Releases on disk."""

import errno
import multiprocessing
import os
import threading
from pathlib import Path

import pytest

from app.core.errors import Invalid, OutOfSpace, Unavailable
from app.serving.folders import KEPT, SIDECAR, Folders


def make(folder: Path) -> None:
    folder.mkdir()
    (folder / SIDECAR).write_text("whole")


def test_made_once(tmp_path: Path) -> None:
    folders, made = Folders(tmp_path), list[Path]()

    def count(folder: Path) -> None:
        made.append(folder)
        make(folder)

    threads = [threading.Thread(target=folders.get, args=("c", "key", count)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(made) == 1
    assert Folders(tmp_path).get("c", "key", count) == tmp_path / "c" / "key"  # as another process finds it
    assert len(made) == 1


def _in_another_process(root: Path, ready: Path, go: Path) -> None:
    def slowly(folder: Path) -> None:
        ready.touch()
        while not go.exists():
            pass
        make(folder)

    Folders(root).get("c", "key", slowly)


def test_another_process_is_waited_for(tmp_path: Path) -> None:
    ready, go = tmp_path / "ready", tmp_path / "go"
    context = multiprocessing.get_context("spawn")
    other = context.Process(target=_in_another_process, args=(tmp_path / "root", ready, go))
    other.start()
    while not ready.exists():
        assert other.is_alive()
    threading.Timer(0.3, go.touch).start()
    assert Folders(tmp_path / "root").get("c", "key", lambda _: pytest.fail("made twice")).exists()
    other.join()


def test_a_failure_leaves_nothing(tmp_path: Path) -> None:
    folders = Folders(tmp_path)

    def fail(folder: Path) -> None:
        folder.mkdir()
        (folder / "half").touch()
        raise Invalid("no")

    with pytest.raises(Invalid):
        folders.get("c", "key", fail)
    assert [path.name for path in (tmp_path / "c").iterdir()] == ["lock"]
    assert folders.find("c", "key") is None


def test_what_a_killed_process_left_is_removed(tmp_path: Path) -> None:
    (tmp_path / "c" / "making-dead" / "key").mkdir(parents=True)
    (tmp_path / "c" / "key").mkdir()  # renamed, but its sidecar never reached the disk
    folders = Folders(tmp_path)
    assert folders.find("c", "key") is None
    assert folders.find("c", "key") != folders.get("c", "key", make)
    assert not list(tmp_path.glob("c/making-*"))


@pytest.mark.parametrize(
    ("code", "kind", "reason"),
    [(errno.ENOSPC, OutOfSpace, "the disk is full"), (errno.EIO, Unavailable, "Input/output error")],
)
def test_a_disk_that_is_full_or_fails_is_told(
    tmp_path: Path, code: int, kind: type[Unavailable], reason: str
) -> None:
    def failing(_: Path) -> None:
        raise OSError(code, os.strerror(code))

    with pytest.raises(Unavailable, match=reason) as caught:
        Folders(tmp_path).get("c", "key", failing)
    assert type(caught.value) is kind


def test_the_last_ones_stay(tmp_path: Path) -> None:
    folders = Folders(tmp_path)
    for n in range(KEPT + 2):
        folders.get("c", f"k{n}", make)
        folders.get("c", "k0", make)  # asked for again and again: never the oldest
    names = [folder.name for folder in folders.latest("c")]
    assert len(names) == KEPT
    assert "k0" in names
    folders.forget("c")
    assert folders.latest("c") == []
