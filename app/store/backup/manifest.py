"""What a back-up says of itself."""

import hashlib
import json
from dataclasses import asdict, dataclass
from typing import IO, Any
from zipfile import ZIP_STORED, BadZipFile, ZipFile

from pydantic import TypeAdapter

from app.core.errors import Invalid

FORMAT = 1
NAME = "manifest.json"
MAX_BYTES = 1024**2
_CHUNK = 1024**2


@dataclass(frozen=True)
class Part:
    """One table's file: its rows, its bytes, their sha256."""

    rows: int
    bytes: int
    sha256: str


@dataclass(frozen=True)
class Manifest:
    """A back-up: of which tenant (None: of all), of which schema, made when, and its parts by table."""

    format: int
    schema: str
    created_at: str
    tenant: str | None
    tables: dict[str, Part]

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON values."""
        return asdict(self)

    @classmethod
    def read(cls, archive: ZipFile) -> "Manifest":
        """Read it from a back-up; raises `Invalid` where it is none."""
        try:
            if archive.getinfo(NAME).file_size > MAX_BYTES:
                raise damaged(f"{NAME} has more than {MAX_BYTES} bytes")
            found = json.loads(archive.read(NAME))
            if found["format"] != FORMAT:
                raise Invalid(
                    f"The back-up is of format {found['format']!r}, and this version reads {FORMAT}. "
                    "Restore it with the version that made it."
                )
            return TypeAdapter(cls).validate_python(found)
        except (KeyError, TypeError, ValueError, RuntimeError, BadZipFile) as error:
            raise damaged(f"{NAME} is missing or wrong") from error

    def check(self, archive: ZipFile) -> None:
        """Compare every part with what is said of it; raises `Invalid`."""
        # Nothing is packed or encrypted by the zip itself, so the file unpacks to no more than it is.
        plain = (i for i in archive.infolist() if i.compress_type == ZIP_STORED and not i.flag_bits & 1)
        sizes = {info.filename: info.file_size for info in plain}
        for table, part in self.tables.items():
            name = part_name(table)
            if sizes.get(name) != part.bytes:
                raise damaged(f"{name} is missing or has another size")
            with archive.open(name) as file:
                if sha256_of(file) != part.sha256:
                    raise damaged(f"{name} was changed")


def part_name(table: str) -> str:
    """A table's file in the back-up."""
    return f"{table}.parquet"


def sha256_of(file: IO[bytes]) -> str:
    """The digest of what is left of a file."""
    digest = hashlib.sha256()
    while chunk := file.read(_CHUNK):
        digest.update(chunk)
    return digest.hexdigest()


def damaged(reason: str) -> Invalid:
    """The error for a file that is no whole back-up."""
    return Invalid(f"The file is no back-up, or a damaged one: {reason}. Take another one.")
