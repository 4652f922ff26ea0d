"""Failures of a disk as our own errors."""

import errno
from collections.abc import Iterator
from contextlib import contextmanager

from app.core.errors import OutOfSpace, Unavailable

RETRY_SECONDS = 30


@contextmanager
def writing(what: str) -> Iterator[None]:
    """Raise `OutOfSpace` when the disk is full while the block writes `what`, `Unavailable` when it fails."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise OutOfSpace(
                f"{what} cannot be written: the disk is full. Free space on it and try again.", RETRY_SECONDS
            ) from error
        raise Unavailable(f"{what} cannot be written to disk: {error.strerror or error}.") from error
