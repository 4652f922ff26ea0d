"""Files out of a tar archive, one at a time and never on disk; a bad one does not stop the rest."""

import gzip
import io
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import cast

from app.core.errors import Invalid, TooLarge
from app.store.members import MAX_MEMBERS, Member, is_noise, is_over, readable, too_many, unpacks_to_over

_MAX_HEADER_BYTES = 1024**2  # of long names and the like
_PIECE_BYTES = 64 * 1024


def read_tar(path: Path, gzipped: bool, max_member_bytes: int, max_bytes: int) -> Iterator[Member]:
    """Yield the files of a tar archive in order, without folders.

    Raises `Invalid` when the archive as a whole is damaged or has no end, `TooLarge` when it has too many
    members or unpacks to over `max_bytes`, members that are passed over included.
    """
    number = 0
    with (
        readable("tar"),
        _Bounded(_opened(path, gzipped), max(max_member_bytes, _MAX_HEADER_BYTES), max_bytes) as file,
        tarfile.TarFile(fileobj=file) as archive,
    ):
        while (info := archive.next()) is not None:
            number += 1
            if number > MAX_MEMBERS:
                raise too_many()
            if not info.isdir() and not is_noise(info.name):
                yield Member(number, info.name, _content(file, info, max_member_bytes))
            archive.members.clear()  # type: ignore[attr-defined]  # it would keep them all
        _check_end(file, archive.offset)


def _opened(path: Path, gzipped: bool) -> io.RawIOBase:
    return cast(io.RawIOBase, gzip.open(path)) if gzipped else io.FileIO(path)


def _content(file: "_Bounded", info: tarfile.TarInfo, limit: int) -> bytes | str:
    if not info.isreg() or info.issparse():
        return "it is a link, a device or sparse, not a plain file"
    if info.size > limit:
        return is_over(limit)
    file.seek(info.offset_data)
    data = file.read(info.size)
    if len(data) < info.size:
        raise Invalid("The tar ends within a file. Send it again whole.")
    return data


def _check_end(file: "_Bounded", offset: int) -> None:
    # tarfile takes a damaged header for the end of the archive; the real end is a block of zeros.
    file.seek(offset)
    if file.read(tarfile.BLOCKSIZE) != tarfile.NUL * tarfile.BLOCKSIZE:
        raise Invalid(f"The tar is damaged or cut short at byte {offset}. Send it again whole.")
    while file.read(_PIECE_BYTES):  # to the end, where gzip has its checksum
        pass


class _Bounded(io.BufferedReader):
    """A file that hands out neither too much at once nor in all, whatever lengths a header claims."""

    def __init__(self, raw: io.RawIOBase, max_read: int, max_bytes: int) -> None:
        super().__init__(raw)
        self._max_read, self._max_bytes = max_read, max_bytes

    def read(self, size: int | None = -1, /) -> bytes:
        """Read `size` bytes; raises `TooLarge` beyond the bounds."""
        if size is None or not 0 <= size <= self._max_read + tarfile.BLOCKSIZE:
            raise TooLarge(
                f"A header in the tar has more than {self._max_read} bytes. Make the archive anew."
            )
        data = super().read(size)
        if self.tell() > self._max_bytes:
            raise unpacks_to_over(self._max_bytes)
        return data

    def seek(self, target: int, whence: int = 0, /) -> int:
        """Go to a position; raises `TooLarge` before anything beyond the bound is unpacked."""
        if target > self._max_bytes:
            raise unpacks_to_over(self._max_bytes)
        return super().seek(target, whence)
