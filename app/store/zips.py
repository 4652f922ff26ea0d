"""Files out of a zip archive, one at a time and never on disk; a bad one does not stop the rest."""

import io
import stat
import zipfile
from collections.abc import Iterator
from pathlib import Path

from app.core.errors import Invalid, TooLarge
from app.store.members import (
    MAX_MEMBERS,
    Member,
    is_noise,
    is_over,
    readable,
    too_many,
    unpacks_to_over,
)

_MAX_DIRECTORY_BYTES = 64 * 1024**2
_DIRECTORY_ENTRY = b"PK\x01\x02"
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)  # the others unpack without a bound
_ENCRYPTED = 0x1 | 0x40 | 0x2000  # flags: this member; strongly; the directory too


def read_zip(path: Path, max_member_bytes: int, max_bytes: int) -> Iterator[Member]:
    """Yield the files of a zip archive in the order of its directory, without folders.

    Raises `Invalid` when the archive as a whole is damaged or encrypted, `TooLarge` when it has too many
    members or they unpack to over `max_bytes`.
    """
    total = 0
    with readable("zip"), _Directory(io.FileIO(path)) as file, zipfile.ZipFile(file) as archive:
        for number, info in enumerate(archive.infolist(), start=1):
            if info.flag_bits & _ENCRYPTED:
                raise Invalid("The archive is encrypted. Send it without a password.")
            if info.filename.endswith("/") or is_noise(info.filename):
                continue
            reason = _reason(info, max_member_bytes)
            if reason:
                yield Member(number, info.filename, reason)
                continue
            # Counted as its header claims, whatever comes: no more than that is ever unpacked.
            total += info.file_size
            if total > max_bytes:
                raise unpacks_to_over(max_bytes)
            yield Member(number, info.filename, _content(archive, info))


def _reason(info: zipfile.ZipInfo, limit: int) -> str | None:
    kind = stat.S_IFMT(info.external_attr >> 16)  # 0 where no Unix made the archive
    if kind not in (0, stat.S_IFREG):
        return "it is a link or a device, not a file"
    if info.compress_type not in _METHODS:
        return "its compression is not supported: use deflate or none"
    return is_over(limit) if info.file_size > limit else None


def _content(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> bytes | str:
    try:
        with archive.open(info) as file:
            return file.read(info.file_size)
    except Exception:  # as in `readable`: damage has every form
        return "it is damaged in the archive"


class _Directory(io.BufferedReader):
    """A zip file that refuses to give out too long a directory; zipfile reads it whole, in one piece."""

    def read(self, size: int | None = -1, /) -> bytes:
        """Read as ever; raises `TooLarge` for a directory that is too long."""
        if size is not None and size > _MAX_DIRECTORY_BYTES:
            raise TooLarge("The archive's directory is too long. Split the archive.")
        data = super().read(size)
        if data.count(_DIRECTORY_ENTRY) > MAX_MEMBERS:
            raise too_many()
        return data
