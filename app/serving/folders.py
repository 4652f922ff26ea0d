"""Releases on this machine's disk: made once, in a folder each, and opened by all its processes."""

import fcntl
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from app.core.disk import writing

SIDECAR = "release.json"  # written last: a folder that has it is whole
KEPT = 4  # releases of a channel that stay, so that a rollback need not build anything


class Folders:
    """`root/{channel_id}/{key}`; whoever finds one whole opens it, else makes it under the channel's lock.

    A lane has a lock of its own: a challenger that takes long to make holds up no champion.
    """

    def __init__(self, root: Path) -> None:
        self.root = root

    def find(self, channel_id: str, key: str) -> Path | None:
        """The folder, if it is whole."""
        folder = self.root / channel_id / key
        return folder if (folder / SIDECAR).is_file() else None

    def latest(self, channel_id: str) -> list[Path]:
        """The channel's whole folders, the one used last first."""
        found = [
            (path.stat().st_mtime, path.parent) for path in (self.root / channel_id).glob(f"*/{SIDECAR}")
        ]
        return [folder for _, folder in sorted(found, reverse=True)]

    def get(self, channel_id: str, key: str, make: Callable[[Path], None], lane: str = "") -> Path:
        """Find the folder, or have `make` fill it; of processes that want the same one makes it.

        Raises what `make` raises, `OutOfSpace` when the disk is full and `Unavailable` when it fails; none of
        them leaves a trace.
        """
        if (folder := self.find(channel_id, key)) is None:
            with writing("The release"), self._locked(channel_id, lane):
                folder = self.find(channel_id, key) or self._make(channel_id, key, make, lane)
        os.utime(folder / SIDECAR)
        return folder

    def channels(self) -> set[str]:
        """The ids of the channels that have releases here."""
        return {path.name for path in self.root.iterdir()} if self.root.is_dir() else set()

    def discard(self, folder: Path) -> None:
        """Remove a damaged folder."""
        shutil.rmtree(folder, ignore_errors=True)

    def forget(self, channel_id: str) -> None:
        """Remove all releases of a channel that is gone; those in use go on until they are closed."""
        shutil.rmtree(self.root / channel_id, ignore_errors=True)

    def _make(self, channel_id: str, key: str, make: Callable[[Path], None], lane: str) -> Path:
        folder = self.root / channel_id / key
        with tempfile.TemporaryDirectory(prefix=f"{lane}making-", dir=folder.parent) as making:
            make(Path(making) / key)
            if self.find(channel_id, key) is None:  # the other lane may have made the very same
                shutil.rmtree(folder, ignore_errors=True)  # one that lost its sidecar
                (Path(making) / key).rename(folder)
        for old in self.latest(channel_id)[KEPT:]:
            shutil.rmtree(old, ignore_errors=True)
        return folder

    @contextmanager
    def _locked(self, channel_id: str, lane: str) -> Iterator[None]:
        (self.root / channel_id).mkdir(parents=True, exist_ok=True)
        with (self.root / channel_id / f"{lane}lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            # Left by a process that was killed: nobody else makes one while we hold the lock.
            for broken in (self.root / channel_id).glob(f"{lane}making-*"):
                shutil.rmtree(broken, ignore_errors=True)
            yield
