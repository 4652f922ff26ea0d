"""Archives of images: a file an item, named by the item's id."""

from collections.abc import Iterator, Set
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from urllib.parse import unquote

from app.core.errors import Invalid, TooLarge
from app.core.images import ImageInfo, check_image, image_info
from app.store.catalog import item_ids
from app.store.db import Database
from app.store.formats import Format, unpack_limit
from app.store.images import ImageRow, require_images
from app.store.members import Member
from app.store.rows import BadRow
from app.store.tars import read_tar
from app.store.zips import read_zip

SUFFIXES = ("jpg", "jpeg", "png", "webp")
# Flat images are tiny files, and decoding costs by the pixel: what an archive may have decoded in all.
_FREE_PIXELS = 10**9
_PIXELS_A_BYTE = 100  # photographs have 3 to 10
_MAX_SHOWN = 160  # characters of a name in a reason


@dataclass(frozen=True, slots=True)
class Archive:
    """An archive of images (zip, tar or gzipped tar) and the bounds on what may be in it."""

    path: Path
    format: Format
    gzipped: bool
    max_bytes: int
    max_image_bytes: int
    max_image_pixels: int

    def members(self) -> Iterator[Member]:
        """Yield its files; raises `Invalid` when it is damaged as a whole, `TooLarge` when it is too much."""
        if self.format is Format.TAR:
            max_bytes = unpack_limit(self.path, self.max_bytes) if self.gzipped else self.max_bytes
            return read_tar(self.path, self.gzipped, self.max_image_bytes, max_bytes)
        if self.gzipped:
            raise Invalid("A zip is compressed inside. Send the file without gzip.")
        return read_zip(self.path, self.max_image_bytes, unpack_limit(self.path, self.max_bytes))


def check_images(db: Database, channel_id: str, archive: Archive) -> Iterator[tuple[int, str | None]]:
    """Yield (member number, None or why it is bad) of every file; a reason begins with the item's id.

    Raises `Invalid` and `TooLarge` when the archive as a whole is wrong, and for a channel that reads texts.
    """
    with db.read() as s:
        require_images(s, channel_id)
        known = item_ids(s, channel_id)
    seen: dict[str, int] = {}
    number, pixels = 0, _Budget(max(_FREE_PIXELS, archive.path.stat().st_size * _PIXELS_A_BYTE))
    for member in archive.members():
        number = member.number
        yield number, _problem(archive, member, known, seen, pixels)
    if not number:
        raise Invalid("The archive is empty. Send at least one image.")


def read_images(archive: Archive) -> Iterator[ImageRow]:
    """Yield the images of a checked archive."""
    for member in archive.members():
        if isinstance(member.content, str):
            raise Invalid(f"Member {member.number} cannot be read any more. Send the archive again.")
        yield ImageRow(item_of(member.name), image_info(member.content), member.content)


def item_of(name: str) -> str:
    """Return the id of the item whose image a file of that name is; raises `BadRow`.

    Folders and the suffix do not count, and the rest is URL-unquoted: "posters/a%2Fb.jpg" is of item "a/b".
    """
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts:
        raise BadRow("the name leads out of the archive")
    stem, _, suffix = path.name.rpartition(".")
    if not stem or suffix.lower() not in SUFFIXES:
        raise BadRow(f"the name ends in none of .{', .'.join(SUFFIXES)}")
    try:
        return unquote(stem, errors="strict")
    except UnicodeDecodeError as error:
        raise BadRow("the name is not URL-quoted UTF-8") from error


def _problem(
    archive: Archive, member: Member, known: Set[str], seen: dict[str, int], pixels: "_Budget"
) -> str | None:
    try:
        item_id = item_of(member.name)
    except BadRow as error:
        return f"{_shown(member.name)}: {error}"
    reason = _reason(archive, member, item_id, known, seen, pixels)
    return f"{_shown(item_id)}: {reason}" if reason else None


class _Budget:
    """Pixels that an archive may still have decoded."""

    def __init__(self, pixels: int) -> None:
        self.pixels, self.left = pixels, pixels

    def spend(self, info: ImageInfo) -> None:
        """Count an image; raises `TooLarge` beyond the budget."""
        self.left -= info.width * info.height
        if self.left < 0:
            raise TooLarge(f"The archive's images have more than {self.pixels} pixels in all. Split it.")


def _reason(
    archive: Archive, member: Member, item_id: str, known: Set[str], seen: dict[str, int], pixels: _Budget
) -> str | None:
    if item_id not in known:
        return "the item is not in the catalogue: upload it first"
    first = seen.setdefault(item_id, member.number)
    if first != member.number:
        return f"the item has an image already, member {first}"
    if isinstance(member.content, str):
        return member.content
    try:
        pixels.spend(image_info(member.content))
        check_image(member.content, archive.max_image_bytes, archive.max_image_pixels)
    except Invalid as error:
        return error.message
    return None


def _shown(name: str) -> str:
    # Names come as they are: with control characters, or bytes that are no text.
    return ascii(name)[1:-1][:_MAX_SHOWN] if not name.isprintable() else name[:_MAX_SHOWN]
