"""Lines of a text file, each of bounded length, as text or as the reason why it is bad."""

import gzip
import io
import zlib
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import repeat
from pathlib import Path
from typing import IO, TypeVar, cast

from app.core.errors import Invalid, TooLarge

_LINE_BYTES = 32  # what a line counts at least: an empty one is work too
_BLOCK_BYTES = 128 * 1024
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class BadLine:
    """A line that cannot be used; `number` counts from 1, the header included."""

    number: int
    reason: str


class Lines:
    """The lines of a UTF-8 file, (number, line with its end) one by one; a bad one is a `BadLine`.

    Iterating raises `Invalid` for a broken gzip file and `TooLarge` above `max_bytes`, counted unpacked and
    a line as at least 32: a small gzip file can unpack to any size.
    """

    def __init__(self, path: Path, gzipped: bool, max_line_bytes: int, max_bytes: int) -> None:
        self.number = 0
        self._file = _opened(path, gzipped)
        self._max_line, self._max = max_line_bytes, max_bytes
        self._total = 0
        self._waiting: deque[bytes] = deque()  # lines of a block that was not taken

    def __enter__(self) -> "Lines":
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def __iter__(self) -> "Lines":
        return self

    def __next__(self) -> tuple[int, str | BadLine]:
        raw, length = self._bounded()
        if not raw:
            raise StopIteration
        self.number += 1
        self._total += max(length, _LINE_BYTES)
        if self._total > self._max:
            raise TooLarge(
                f"The file unpacks to more than {self._max} bytes (a line counts as at least "
                f"{_LINE_BYTES}). Split it."
            )
        return self.number, _decode(self.number, raw, length, self._max_line)

    def take(self, parse: Callable[[list[str]], T | None]) -> T | None:
        """Return what `parse` makes of the next lines, without their ends, all at once; None at the end.

        None too if one of them is bad or `parse` returns None: these lines come one by one, and then it may
        be asked again.
        """
        data = b"" if self._waiting else self._block()
        if not data:
            return None
        whole = data.removesuffix(b"\n")
        lengths = [len(line) + 1 for line in whole.split(b"\n")]
        total = self._total + sum(map(max, lengths, repeat(_LINE_BYTES)))
        text = _plain(whole) if total <= self._max and max(lengths) <= self._max_line else None
        parsed = None if text is None else parse(text.split("\n"))
        if parsed is None:
            self._waiting.extend(io.BytesIO(data))
        else:
            self.number, self._total = self.number + len(lengths), total
        return parsed

    def _block(self) -> bytes:
        """The next lines as they are in the file; the last one may lack its end."""
        with _whole_gzip():
            block = self._file.read(_BLOCK_BYTES)
            return block if block.endswith(b"\n") else block + self._file.readline(self._max_line + 1)

    def _bounded(self) -> tuple[bytes, int]:
        """The next line, or more than `max_line` of its bytes, and its length, whole up to `max_bytes`."""
        with _whole_gzip():
            raw = self._waiting.popleft() if self._waiting else self._file.readline(self._max_line + 1)
            piece, length = raw, len(raw)
            while piece and not piece.endswith(b"\n") and length <= self._max:
                piece = self._file.readline(self._max_line + 1)
                length += len(piece)
                raw = raw if len(raw) > self._max_line else raw + piece
        return raw, length


@contextmanager
def _whole_gzip() -> Iterator[None]:
    try:
        yield
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise Invalid("The file is not a whole gzip file. Send it again, or send it unpacked.") from error


def _plain(data: bytes) -> str | None:
    """Lines as text, or None if one of them is bad."""
    try:
        return None if b"\0" in data else data.decode()
    except UnicodeDecodeError:
        return None


def _opened(path: Path, gzipped: bool) -> IO[bytes]:
    if not gzipped:
        return path.open("rb")
    # gzip's own readline is Python, this one is not.
    return io.BufferedReader(cast(io.RawIOBase, gzip.open(path)))


def _decode(number: int, raw: bytes, length: int, limit: int) -> str | BadLine:
    if length > limit:
        return BadLine(number, f"the line is longer than {limit} bytes")
    if b"\0" in raw:
        return BadLine(number, "the line holds a NUL byte")
    try:
        # Spreadsheets begin a file with a byte order mark.
        return raw.decode("utf-8-sig" if number == 1 else "utf-8")
    except UnicodeDecodeError as error:
        return BadLine(number, f"the line is not UTF-8 (byte {error.start + 1})")
