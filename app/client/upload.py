"""Bodies that are streamed: files, bytes and data frames, read anew whenever they are sent again."""

import io
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Protocol, cast, runtime_checkable

from anyio.to_thread import run_sync

CHUNK = 256 * 1024
_FORMATS = {
    ".csv": "csv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".parquet": "parquet",
    ".zip": "zip",
    ".tar": "tar",
    ".tgz": "tar",
}
OnProgress = Callable[[int, int], None]
"""Is told how many bytes were sent, and of how many."""


@runtime_checkable
class PandasFrame(Protocol):
    """What is used of a pandas DataFrame."""

    def to_parquet(self, path: None, *, index: bool) -> bytes:
        """The file's bytes."""

    def to_csv(self, path_or_buf: None, *, index: bool) -> str:
        """The file's text."""


@runtime_checkable
class PolarsFrame(Protocol):
    """What is used of a polars DataFrame."""

    def write_parquet(self, file: Any) -> None:
        """Write the file."""


Source = str | Path | bytes | BinaryIO | PandasFrame | PolarsFrame
"""What can be sent: a path, the bytes, a seekable file that is open for reading bytes, or a data frame."""


@dataclass(frozen=True)
class Upload:
    """A body of known size; iterating reads it from its start."""

    opened: Callable[[], AbstractContextManager[BinaryIO]]
    size: int
    format: str | None = None
    gzipped: bool = False
    on_progress: OnProgress | None = None

    def __iter__(self) -> Iterator[bytes]:
        with self.opened() as file:
            sent = 0
            while chunk := file.read(CHUNK):
                yield chunk
                sent += len(chunk)
                self._note(sent)

    async def __aiter__(self) -> AsyncIterator[bytes]:
        with self.opened() as file:
            sent = 0
            while chunk := await run_sync(file.read, CHUNK):
                yield chunk
                sent += len(chunk)
                self._note(sent)

    def _note(self, sent: int) -> None:
        if self.on_progress is not None:
            self.on_progress(sent, self.size)


def upload_of(source: Source, format: str | None = None, on_progress: OnProgress | None = None) -> Upload:  # noqa: A002
    """The body that a source is; the format is what its name ends in, unless it is given.

    Raises `ValueError` for a file that cannot be read again, and `OSError` for one that is not there.
    """
    if isinstance(source, PolarsFrame):
        buffer = io.BytesIO()
        source.write_parquet(buffer)
        return _of_bytes(buffer.getvalue(), "parquet", on_progress)
    if isinstance(source, PandasFrame):
        return _of_bytes(*_written(source), on_progress)
    if isinstance(source, bytes):
        return _of_bytes(source, format, on_progress)
    if isinstance(source, str | Path):
        path = Path(source)
        found, gzipped = format_of(path)
        return Upload(lambda: path.open("rb"), path.stat().st_size, format or found, gzipped, on_progress)
    return _of_file(source, format, on_progress)


def format_of(path: Path) -> tuple[str | None, bool]:
    """The format that a file's name ends in, and whether it is gzipped."""
    suffix = path.suffix.lower()
    gzipped = suffix in (".gz", ".tgz")
    return _FORMATS.get(Path(path.stem).suffix.lower() if suffix == ".gz" else suffix), gzipped


def _written(frame: PandasFrame) -> tuple[bytes, str]:
    try:
        return frame.to_parquet(None, index=False), "parquet"
    except ImportError:  # pandas writes Parquet with a library that is not always there
        return frame.to_csv(None, index=False).encode(), "csv"


def _of_bytes(data: bytes, format: str | None, on_progress: OnProgress | None) -> Upload:  # noqa: A002
    return Upload(lambda: io.BytesIO(data), len(data), format, on_progress=on_progress)


def _of_file(file: BinaryIO, format: str | None, on_progress: OnProgress | None) -> Upload:  # noqa: A002
    if not file.seekable():
        raise ValueError("A file that cannot be read again cannot be sent again: give its path or its bytes.")
    start = file.tell()
    size = file.seek(0, io.SEEK_END) - start

    def rewound() -> AbstractContextManager[BinaryIO]:
        file.seek(start)
        return nullcontext(file)  # whoever opened it closes it

    found, gzipped = format_of(Path(str(cast(object, getattr(file, "name", "")))))
    return Upload(rewound, size, format or found, gzipped, on_progress)
