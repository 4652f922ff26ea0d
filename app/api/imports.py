"""Imports of catalogues, interactions and images."""

from collections.abc import Callable
from functools import partial
from typing import Annotated

from fastapi import APIRouter, Query, Request
from sqlalchemy.orm import Session
from starlette.concurrency import run_in_threadpool

from app.api.audited import Audited
from app.api.deps import DatabaseDep, LimitsDep, Reader, SettingsDep, WakeDep, Writer
from app.api.schemas.imports import ImportOut, ImportReportOut
from app.api.uploads import RAW_BODY, Upload, received
from app.core.config import Settings
from app.core.errors import Invalid, NotFound
from app.store.access import Access
from app.store.db import Database
from app.store.formats import Format
from app.store.imports import ImportReport, Kind, Limits, check_format, list_imports, run_import
from app.store.tables import Import
from app.store.wake import Wake

router = APIRouter(prefix="/v1/channels/{channel}/imports", tags=["imports"], route_class=Audited)

QUOTAS = {Kind.ITEMS: "items", Kind.INTERACTIONS: "interactions", Kind.IMAGES: "bytes"}
_MEDIA_TYPES = {
    "text/csv": Format.CSV,
    "application/csv": Format.CSV,
    "application/x-ndjson": Format.JSONL,
    "application/ndjson": Format.JSONL,
    "application/jsonl": Format.JSONL,
    "application/jsonlines": Format.JSONL,
    "application/vnd.apache.parquet": Format.PARQUET,
    "application/parquet": Format.PARQUET,
    "application/zip": Format.ZIP,
    "application/x-zip-compressed": Format.ZIP,
    "application/x-tar": Format.TAR,
}


@router.post("", status_code=201, response_model=ImportReportOut, openapi_extra=RAW_BODY)
async def create_import(
    request: Request,
    access: Writer,
    db: DatabaseDep,
    wake: WakeDep,
    settings: SettingsDep,
    tenant_limits: LimitsDep,
    kind: Kind,
    format: Format | None = None,  # noqa: A002 - the word for it
) -> ImportReport:
    """Import a file, sent as the body: whole or, with any bad line, not at all (422 lists them).

    Items and interactions come as csv, jsonl or parquet; images as a zip or tar of files `{item_id}.jpg`.
    The format may also come as the Content-Type; `Content-Encoding: gzip` is understood.
    """
    format, gzipped = format or _format(request), _gzipped(request)  # noqa: A001
    check_format(kind, format)
    async with received(request, settings.max_upload_bytes) as upload:
        check = partial(tenant_limits.check, tenant_id=access.tenant_id, name=QUOTAS[kind])
        return await run_in_threadpool(_run, db, wake, settings, access, kind, upload, format, gzipped, check)


@router.get("", response_model=list[ImportOut])
def get_imports(
    access: Reader, db: DatabaseDep, limit: Annotated[int, Query(ge=1, le=1000)] = 100
) -> list[Import]:
    """List the channel's imports, newest first."""
    with db.read() as s:
        return list(list_imports(s, access.channel_id, limit))


@router.get("/{import_id}", response_model=ImportOut)
def get_import(import_id: str, access: Reader, db: DatabaseDep) -> Import:
    """Show an import with its bad lines."""
    with db.read() as s:
        found = s.get(Import, import_id)
    if found is None or found.channel_id != access.channel_id:
        raise NotFound(f"There is no import {import_id[:80]!r} in this channel. List the imports to find it.")
    return found


def _run(
    db: Database,
    wake: Wake,
    settings: Settings,
    access: Access,
    kind: Kind,
    upload: Upload,
    file_format: Format,
    gzipped: bool,
    check: Callable[[Session], None],
) -> ImportReport:
    report = run_import(
        db,
        access.channel_id,
        kind,
        upload.path,
        file_format,
        sha256=upload.sha256,
        actor=access.actor,
        gzipped=gzipped,
        limits=Limits(
            settings.max_line_bytes,
            settings.max_upload_bytes,
            settings.max_image_bytes,
            settings.max_image_pixels,
        ),
        check=check,
    )
    if report.inserted or report.updated:
        wake.releases(access.channel_id)
    return report


def _format(request: Request) -> Format:
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type not in _MEDIA_TYPES:
        raise Invalid(
            "The file's format is not known. Add ?format=csv, jsonl, parquet, zip or tar.", field="format"
        )
    return _MEDIA_TYPES[media_type]


def _gzipped(request: Request) -> bool:
    encoding = request.headers.get("content-encoding", "identity").strip().lower()
    if encoding not in ("identity", "gzip"):
        raise Invalid("Only Content-Encoding: gzip is understood. Send the file so, or as it is.")
    return encoding == "gzip"
