"""Imports: a file lands whole or not at all, and the same file twice changes nothing."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.core.clock import now
from app.core.errors import ImportRejected, Invalid
from app.core.ids import new_id
from app.store.catalog import ItemRow, item_ids, upsert_items
from app.store.db import Database
from app.store.events import append_interactions
from app.store.formats import MAX_BYTES, Block, Columns, Format, Line, read_blocks
from app.store.image_imports import Archive, check_images, read_images
from app.store.images import upsert_images
from app.store.import_rows import Met, interactions, items
from app.store.tables import Import

MAX_LISTED = 1000  # bad lines listed; all are counted


class Kind(StrEnum):
    """What a file holds."""

    ITEMS = "items"
    INTERACTIONS = "interactions"
    IMAGES = "images"


_ARCHIVES = (Format.ZIP, Format.TAR)
_COLUMNS = {
    Kind.ITEMS: Columns(required=(("item_id",), ("text", "title")), extra=True),
    Kind.INTERACTIONS: Columns(required=(("user_id",), ("item_id",), ("timestamp",)), extra=False),
}


@dataclass(frozen=True, slots=True)
class ImportReport:
    """What became of a file; `errors` lists {line, reason} of the first 1000 bad lines.

    In an archive of images a line is a member, by its number, and the reason begins with the item's id.
    """

    import_id: str
    kind: str
    format: str
    sha256: str
    status: str
    rows: int
    inserted: int
    updated: int
    unchanged: int
    error_count: int
    errors: list[dict[str, Any]]

    def to_dict(self) -> dict[str, Any]:
        """Return the report as plain JSON values."""
        return asdict(self)


@dataclass(slots=True)
class _Tally:
    rows: int = 0
    inserted: int = 0
    updated: int = 0
    unchanged: int = 0
    error_count: int = 0
    errors: list[dict[str, Any]] = field(default_factory=list)

    def count(self, line: int, reason: str | None) -> None:
        self.rows += 1
        if reason is None:
            return
        self.error_count += 1
        if len(self.errors) < MAX_LISTED:
            self.errors.append({"line": line, "reason": reason})


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds on what a file may hold: bytes of a line, of all unpacked, of an image; pixels of an image."""

    line_bytes: int = 1024**2
    file_bytes: int = MAX_BYTES
    image_bytes: int = 5 * 1024**2
    image_pixels: int = 25_000_000


DEFAULT_LIMITS = Limits()


@dataclass(frozen=True, slots=True)
class _File:
    channel_id: str
    kind: Kind
    path: Path
    format: Format
    gzipped: bool
    sha256: str
    actor: str
    limits: Limits

    @property
    def lines(self) -> str:
        return "members" if self.kind is Kind.IMAGES else "lines"

    def parts(self) -> Iterator[Block | Line]:
        return read_blocks(
            self.path,
            self.format,
            _COLUMNS[self.kind],
            gzipped=self.gzipped,
            max_line_bytes=self.limits.line_bytes,
            max_bytes=self.limits.file_bytes,
        )

    def archive(self) -> Archive:
        limits = self.limits
        return Archive(
            self.path, self.format, self.gzipped, limits.file_bytes, limits.image_bytes, limits.image_pixels
        )


def run_import(
    db: Database,
    channel_id: str,
    kind: Kind,
    path: Path,
    format: Format,  # noqa: A002 - the word for it
    *,
    sha256: str,
    actor: str,
    gzipped: bool = False,
    limits: Limits = DEFAULT_LIMITS,
    check: Callable[[Session], None] | None = None,
) -> ImportReport:
    """Import a file into a channel and return the report; `check` comes after all is written, if it is more.

    Raises `ImportRejected` with the report when any line is bad (then only the report is stored),
    `Invalid` or `TooLarge` when the file as a whole is wrong (then nothing is).
    """
    check_format(kind, format)
    file = _File(channel_id, kind, path, format, gzipped, sha256, actor, limits)
    tally = _Tally()
    # The file is read twice: looking for bad lines takes no write lock, so nobody waits for that.
    for line, reason in _checked(db, file):
        tally.count(line, reason)

    def write(s: Session) -> ImportReport:
        if not tally.error_count:
            _store(s, file, tally)
        if check is not None and (tally.inserted or (kind is Kind.IMAGES and tally.updated)):
            check(s)
        return _save_report(s, file, tally)

    report = db.attempt(write)
    if tally.error_count:
        raise ImportRejected(
            f"{tally.error_count} of {tally.rows} {file.lines} are bad, so nothing was stored. "
            "Correct them (the report lists them) and send the file again.",
            report.to_dict(),
        )
    return report


def check_format(kind: Kind, format: Format) -> None:  # noqa: A002
    """Raise `Invalid` when a file of that format cannot hold that."""
    if (kind is Kind.IMAGES) != (format in _ARCHIVES):
        raise Invalid(
            "Images come as zip or tar, items and interactions as csv, jsonl or parquet. "
            "Name the kind and the format that the file has.",
            field="format",
        )


def list_imports(s: Session, channel_id: str, limit: int = 100) -> Sequence[Import]:
    """Return a channel's newest imports, newest first."""
    query = select(Import).where(Import.channel_id == channel_id)
    return s.scalars(query.order_by(Import.created_at.desc(), Import.id.desc()).limit(limit)).all()


def _checked(db: Database, file: _File) -> Iterator[tuple[int, str | None]]:
    """Yield (line, None or why it is bad) of every line; nothing is written."""
    if file.kind is Kind.IMAGES:
        yield from check_images(db, file.channel_id, file.archive())
        return
    if file.kind is Kind.ITEMS:
        yield from _checked_items(items(file.parts()))
        return
    with db.read() as s:
        known = item_ids(s, file.channel_id)
    yield from _checked_interactions(interactions(file.parts()), known.__contains__)


def _checked_items(lines: Iterator[tuple[int, ItemRow | str]]) -> Iterator[tuple[int, str | None]]:
    seen: dict[str, tuple[int, int]] = {}
    for line, item in lines:
        if isinstance(item, str):
            yield line, item
            continue
        # A hash instead of the text keeps the memory small whatever the texts' length.
        content = hash((item.text, repr(sorted(item.attributes.items()))))
        first, known = seen.setdefault(item.item_id, (line, content))
        if known == content:
            yield line, None
        else:
            yield line, f"item {item.item_id!r} is on line {first} already, with other content"


def _checked_interactions(
    lines: Iterator[tuple[int, Met | str]], is_known: Callable[[str], bool]
) -> Iterator[tuple[int, str | None]]:
    for line, met in lines:
        if isinstance(met, str):
            yield line, met
        elif is_known(met[1]):
            yield line, None
        else:
            yield line, f"item {met[1]!r} is not in the catalogue: upload it first"


def _store(s: Session, file: _File, tally: _Tally) -> None:
    tally.inserted, tally.updated = _stored(s, file)
    tally.unchanged = tally.rows - tally.inserted - tally.updated


def _stored(s: Session, file: _File) -> tuple[int, int]:
    """Write the file, piece by piece; returns how many rows were (inserted, updated)."""
    if file.kind is Kind.IMAGES:
        return upsert_images(s, file.channel_id, read_images(file.archive()))[:2]
    if file.kind is Kind.ITEMS:
        rows = (item for _, item in items(file.parts()) if not isinstance(item, str))
        return upsert_items(s, file.channel_id, rows)[:2]
    met = (row for _, row in interactions(file.parts()) if not isinstance(row, str))
    return append_interactions(s, file.channel_id, met), 0


def _save_report(s: Session, file: _File, tally: _Tally) -> ImportReport:
    report = ImportReport(
        import_id=new_id("imp"),
        kind=file.kind.value,
        format=file.format.value,
        sha256=file.sha256,
        status="REJECTED" if tally.error_count else "ACCEPTED",
        **asdict(tally),
    )
    stored = {key: value for key, value in report.to_dict().items() if key != "import_id"}
    s.add(
        Import(
            id=report.import_id,
            channel_id=file.channel_id,
            created_at=now(),
            created_by=file.actor,
            **stored,
        )
    )
    s.flush()
    return report
