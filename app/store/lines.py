"""Lines of a text file, each of bounded length, as text or as the reason why it is bad."""

import gzip
import io
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, cast

from app.core.errors import Invalid, TooLarge

_LINE_BYTES = 32  # what a line counts at least: an empty one is work too


@dataclass(frozen=True, slots=True)
class BadLine:
    """A line that cannot be used; `number` counts from 1, the header included."""

    number: int
    reason: str


def read_lines(
    path: Path, gzipped: bool, max_line_bytes: int, max_bytes: int
) -> Iterator[tuple[int, str | BadLine]]:
    """Yield (number, line with its end) of a UTF-8 file; a bad line is yielded as a `BadLine`.

    Raises `Invalid` for a broken gzip file and `TooLarge` above `max_bytes`, counted unpacked and a
    line as at least 32: a small gzip file can unpack to any size.
    """
    with _opened(path, gzipped) as file:
        total = 0
        for number, (raw, length) in enumerate(_bounded(file, max_line_bytes, max_bytes), start=1):
            total += max(length, _LINE_BYTES)
            if total > max_bytes:
                raise TooLarge(
                    f"The file unpacks to more than {max_bytes} bytes (a line counts as at least "
                    f"{_LINE_BYTES}). Split it."
                )
            yield number, _decode(number, raw, length, max_line_bytes)


def _opened(path: Path, gzipped: bool) -> IO[bytes]:
    if not gzipped:
        return path.open("rb")
    # gzip's own readline is Python, this one is not.
    return io.BufferedReader(cast(io.RawIOBase, gzip.open(path)))


def _bounded(file: IO[bytes], limit: int, max_bytes: int) -> Iterator[tuple[bytes, int]]:
    """Yield each line's first bytes (at most limit + 1) and its length, whole up to `max_bytes`."""
    try:
        while raw := file.readline(limit + 1):
            length, piece = len(raw), raw
            while len(piece) == limit + 1 and not piece.endswith(b"\n") and length <= max_bytes:
                piece = file.readline(limit + 1)
                length += len(piece)
            yield raw, length
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise Invalid("The file is not a whole gzip file. Send it again, or send it unpacked.") from error


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
