"""Imports: whole or, with any bad line, not at all. The same file twice changes nothing."""

from typing import Literal

from app.api.schemas.imports import ImportOut, ImportReportOut
from app.client.call import CHANNELS, Call, at, many, one
from app.client.upload import OnProgress, Source, upload_of

RowFormat = Literal["csv", "jsonl", "parquet"]
ArchiveFormat = Literal["zip", "tar"]
_SECONDS = 3600.0  # a file of gigabytes is read, checked and stored before the answer


def import_items(
    channel: str,
    source: Source,
    format: RowFormat | None = None,  # noqa: A002 - the API's word
    on_progress: OnProgress | None = None,
) -> Call[ImportReportOut]:
    """Import items: `item_id`, `text` or `title`, and any further attributes.

    `source` is a path, bytes, a seekable file or a data frame; its format is what the name ends in, unless
    it is given. A file with bad lines is an `ApiError` whose `extra["report"]` lists them.
    """
    return _import(channel, "items", source, format, on_progress)


def import_interactions(
    channel: str,
    source: Source,
    format: RowFormat | None = None,  # noqa: A002
    on_progress: OnProgress | None = None,
) -> Call[ImportReportOut]:
    """Import interactions: `user_id`, `item_id`, `timestamp`; else as `import_items`."""
    return _import(channel, "interactions", source, format, on_progress)


def import_images(
    channel: str,
    source: Source,
    format: ArchiveFormat | None = None,  # noqa: A002
    on_progress: OnProgress | None = None,
) -> Call[ImportReportOut]:
    """Import images: an archive of files named `{item_id}.jpg`, `.png` or `.webp`; else as `import_items`."""
    return _import(channel, "images", source, format, on_progress)


def imports(channel: str, limit: int = 100) -> Call[list[ImportOut]]:
    """Past imports, newest first."""
    return Call("GET", at(CHANNELS, channel, "imports"), many(ImportOut), query={"limit": limit})


def import_report(channel: str, import_id: str) -> Call[ImportOut]:
    """The report of an import, with its bad lines."""
    return Call("GET", at(CHANNELS, channel, "imports", import_id), one(ImportOut))


def _import(
    channel: str,
    kind: str,
    source: Source,
    format: str | None,  # noqa: A002
    on_progress: OnProgress | None,
) -> Call[ImportReportOut]:
    upload = upload_of(source, format, on_progress)
    if upload.format is None:
        raise ValueError("The format cannot be told from a name: give it, as format='csv'.")
    return Call(
        "POST",
        at(CHANNELS, channel, "imports"),
        one(ImportReportOut),
        upload,
        {"kind": kind, "format": upload.format},
        same_twice=True,
        seconds=_SECONDS,
    )
