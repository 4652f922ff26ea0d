"""What the files in an archive have in common, be it zip or tar."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from app.core.errors import Invalid, TooLarge, TransRecError

MAX_MEMBERS = 100_000
"""Most entries of an archive, folders included."""


@dataclass(frozen=True, slots=True)
class Member:
    """A file in an archive: its number among all entries, from 1, and its bytes or why there are none."""

    number: int
    name: str
    content: bytes | str


def is_noise(name: str) -> bool:
    """Tell whether the file is one that macOS adds by itself."""
    last = name.rpartition("/")[2]
    return name.startswith("__MACOSX/") or last == ".DS_Store" or last.startswith("._")


@contextmanager
def readable(kind: str) -> Iterator[None]:
    """Turn every sign of a damaged archive into `Invalid`; `kind` is "zip" or "tar"."""
    try:
        yield
    except TransRecError:
        raise
    except Exception as error:  # the standard library's readers fail on damaged data in every way there is
        reason = str(error)[:100] or type(error).__name__
        raise Invalid(
            f"The file is not readable as {kind} ({reason}). Send the archive again whole."
        ) from error


def too_many() -> TooLarge:
    """The error for more than `MAX_MEMBERS` entries."""
    return TooLarge(f"The archive has more than {MAX_MEMBERS} members. Split it.")


def unpacks_to_over(max_bytes: int) -> TooLarge:
    """The error for more than `max_bytes` bytes in all."""
    return TooLarge(f"The archive unpacks to more than {max_bytes} bytes. Split it.")


def is_over(max_bytes: int) -> str:
    """The reason why a file of more than `max_bytes` bytes is bad."""
    return f"the file has more than {max_bytes} bytes"
