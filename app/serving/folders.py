"""Releases on this machine's disk: made once, in a folder each, and opened by all its processes."""

import fcntl
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from app.core.errors import Unavailable

SIDECAR = "release.json"  # written last: a folder that has it is whole
KEPT = 4  # releases of a channel that stay, so that a rollback need not build anything


class Folders:
    """`root/{channel_id}/{key}`; whoever finds one whole opens it, else makes it under the channel's lock."""

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

    def get(self, channel_id: str, key: str, make: Callable[[Path], None]) -> Path:
        """Find the folder, or have `make` fill it; of processes that want the same one makes it.

        Raises what `make` raises, and `Unavailable` when the disk fails; neither leaves a trace.
        """
        if (folder := self.find(channel_id, key)) is None:
            try:
                with self._locked(channel_id):
                    folder = self.find(channel_id, key) or self._make(channel_id, key, make)
            except OSError as error:
                raise Unavailable(
                    f"The release cannot be written to disk: {error.strerror or error}."
                ) from error
        os.utime(folder / SIDECAR)
        return folder

    def discard(self, folder: Path) -> None:
        """Remove a damaged folder."""
        shutil.rmtree(folder, ignore_errors=True)

    def forget(self, channel_id: str) -> None:
        """Remove all releases of a channel that is gone; those in use go on until they are closed."""
        shutil.rmtree(self.root / channel_id, ignore_errors=True)

    def _make(self, channel_id: str, key: str, make: Callable[[Path], None]) -> Path:
        folder = self.root / channel_id / key
        with tempfile.TemporaryDirectory(prefix="making-", dir=folder.parent) as making:
            make(Path(making) / key)
            shutil.rmtree(folder, ignore_errors=True)  # one that lost its sidecar
            (Path(making) / key).rename(folder)
        for old in self.latest(channel_id)[KEPT:]:
            shutil.rmtree(old, ignore_errors=True)
        return folder

    @contextmanager
    def _locked(self, channel_id: str) -> Iterator[None]:
        (self.root / channel_id).mkdir(parents=True, exist_ok=True)
        with (self.root / channel_id / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            # Left by a process that was killed: nobody else makes one while we hold the lock.
            for broken in (self.root / channel_id).glob("making-*"):
                shutil.rmtree(broken, ignore_errors=True)
            yield
