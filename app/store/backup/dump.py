"""Writing a back-up: one snapshot of the database, table by table, whatever is written meanwhile."""

import hashlib
import json
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, cast
from zipfile import ZIP_STORED, ZipFile

import pyarrow.parquet as pq
from sqlalchemy import LargeBinary, Select, Table, func, select, text
from sqlalchemy.orm import Session

from app.core.clock import now
from app.store.backup import arrow
from app.store.backup.manifest import FORMAT, NAME, Manifest, Part, part_name
from app.store.backup.plan import rows_of, serial, tables
from app.store.db import Database
from app.store.tenants import get_tenant

ROWS, BLOBS = 5_000, 4  # rows in memory at once; fewer where each may have hundreds of megabytes
Progress = Callable[[str, int, int], None]
"""Called with a table, and how many of all rows are done."""


def write(db: Database, path: Path, tenant: str | None = None, progress: Progress | None = None) -> Manifest:
    """Back up a tenant, or all, into a file that only its owner may read; it appears when it is whole.

    Raises `NotFound` for an unknown tenant, `Unavailable` when the database goes away.
    """
    aside = path.with_name(f".{path.name}.part")
    try:
        with (
            os.fdopen(os.open(aside, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file,
            ZipFile(file, "w", ZIP_STORED) as archive,  # Parquet is compressed already
            db.read() as s,
        ):
            manifest = _write(s, archive, tenant, progress or (lambda *_: None))
        aside.replace(path)
    finally:
        aside.unlink(missing_ok=True)
    return manifest


def schema_revision(s: Session) -> str:
    """The version of the schema that the database has."""
    return cast(str, s.scalar(text("SELECT version_num FROM alembic_version")))


def _write(s: Session, archive: ZipFile, tenant: str | None, progress: Progress) -> Manifest:
    tenant_id = get_tenant(s, tenant).id if tenant else None
    queries = {table: _query(table, tenant_id) for table in tables()}
    counts = {t: s.scalar(select(func.count()).select_from(q.subquery())) or 0 for t, q in queries.items()}
    total, done, parts = sum(counts.values()), 0, {}
    for table, query in queries.items():
        progress(table.name, done, total)
        parts[table.name] = _write_table(s, archive, table, query)
        done += counts[table]
    progress("", total, total)
    manifest = Manifest(FORMAT, schema_revision(s), now().isoformat(), tenant, parts)
    archive.writestr(NAME, json.dumps(manifest.to_dict(), indent=1))
    return manifest


def _query(table: Table, tenant_id: str | None) -> Select[Any]:
    column = serial(table)
    query = select(table).order_by(*([column] if column is not None else table.primary_key))
    return query if tenant_id is None else query.where(rows_of(table, tenant_id))


def _write_table(s: Session, archive: ZipFile, table: Table, query: Select[Any]) -> Part:
    has_blobs = any(isinstance(column.type, LargeBinary) for column in table.c)
    size = BLOBS if has_blobs else ROWS
    rows = 0
    with archive.open(part_name(table.name), "w", force_zip64=True) as file:
        counted = _Counted(file.write)
        with pq.ParquetWriter(counted, arrow.schema_of(table), compression="zstd") as writer:
            for chunk in _chunks(s, query, size):
                writer.write_batch(arrow.batch_of(table, chunk))
                rows += len(chunk)
    return Part(rows, counted.bytes, counted.digest.hexdigest())


def _chunks(s: Session, query: Select[Any], size: int) -> Iterator[list[Mapping[str, Any]]]:
    result = s.connection().execution_options(yield_per=size).execute(query)
    for part in result.mappings().partitions():
        yield [dict(row) for row in part]


class _Counted:
    """What pyarrow writes to: counts and digests what passes."""

    def __init__(self, write: Callable[[bytes], int]) -> None:
        self._write = write
        self.bytes, self.digest, self.closed = 0, hashlib.sha256(), False

    def write(self, data: Any) -> int:
        """Pass it on."""
        piece = bytes(data)
        self.bytes += len(piece)
        self.digest.update(piece)
        return self._write(piece)

    def tell(self) -> int:
        """How much has passed."""
        return self.bytes

    def flush(self) -> None:
        """Nothing waits here."""

    def close(self) -> None:
        """The zip closes its own part."""
        self.closed = True

    def writable(self) -> bool:
        """It is."""
        return True

    def readable(self) -> bool:
        """It is not."""
        return False

    def seekable(self) -> bool:
        """It is not."""
        return False
