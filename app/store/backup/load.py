"""Restoring a back-up: everything is checked first, then one transaction brings all of it or nothing."""

import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from zipfile import BadZipFile, ZipFile

import pyarrow as pa
import pyarrow.parquet as pq
from sqlalchemy import Table, delete, func, insert, select
from sqlalchemy.exc import DataError, IntegrityError
from sqlalchemy.orm import Session

from app.core.errors import Conflict, Invalid
from app.core.ids import new_id
from app.core.names import NAME_PATTERN, is_name
from app.store.backup import arrow
from app.store.backup.dump import BLOBS, ROWS, Progress, schema_revision
from app.store.backup.manifest import Manifest, damaged, part_name
from app.store.backup.plan import KEYS, TENANTS, references, renamed, serial, tables
from app.store.db import Database, insert_into
from app.store.tables import ApiKey


def restore(
    db: Database,
    path: Path,
    tenant: str | None = None,
    replace: bool = False,
    progress: Progress | None = None,
) -> Manifest:
    """Bring back what a back-up holds; a tenant's under another name, if `tenant` gives one.

    Rows get new ids, so nothing that is cached anywhere is taken for theirs; keys work again, unless they are
    there. With `replace` the tenant of that name goes first, or all tenants for a back-up of all. Raises
    `Invalid` for a file that is not whole or of another schema, `Conflict` where something is in the way.
    """
    try:
        with ZipFile(path) as archive:
            manifest = Manifest.read(archive)
            manifest.check(archive)
            with db.session() as s, _fitting():
                _Restore(s, archive, manifest, tenant, progress or (lambda *_: None)).run(replace)
    except (BadZipFile, pa.ArrowException, OSError) as error:
        raise damaged(str(error)[:100] or type(error).__name__) from error
    return manifest


@contextmanager
def _fitting() -> Iterator[None]:
    """The database is the last to check: what is missing, too long, there twice, or refers to nothing."""
    try:
        yield
    except (IntegrityError, DataError) as error:
        raise damaged("its rows do not fit together") from error


class _Restore:
    def __init__(
        self, s: Session, archive: ZipFile, manifest: Manifest, name: str | None, progress: Progress
    ) -> None:
        self.s, self.archive, self.manifest, self.progress = s, archive, manifest, progress
        self.name = name or manifest.tenant
        self.renamed = name is not None
        self.new_ids: dict[str, dict[str, str]] = {}

    def run(self, replace: bool) -> None:
        """Check what is there, then write."""
        self._check()
        self._make_room(replace)
        total = sum(part.rows for part in self.manifest.tables.values())
        done = 0
        for table in tables():
            self.progress(table.name, done, total)
            for rows in self._read(table):
                self._insert(table, [self._changed(table, row) for row in rows])
            done += self.manifest.tables[table.name].rows
        self.progress("", total, total)

    def _check(self) -> None:
        mine = schema_revision(self.s)
        if self.manifest.schema != mine:
            raise Invalid(
                f"The back-up is of schema {self.manifest.schema}, the database of {mine}. Restore it with "
                "the version of the service that made it, then migrate."
            )
        if set(self.manifest.tables) != {table.name for table in tables()}:
            raise damaged("its tables are not those of this version")
        if self.renamed and self.manifest.tenant is None:
            raise Invalid("The back-up is of all tenants, so it cannot be restored under one name.")
        if self.name is not None and not is_name(self.name):
            raise Invalid(f"A tenant's name must match {NAME_PATTERN}; {self.name[:80]!r} does not.")

    def _make_room(self, replace: bool) -> None:
        mine = TENANTS.c.name == self.name if self.name is not None else TENANTS.c.id.is_not(None)
        if replace:
            self.s.execute(delete(TENANTS).where(mine))
        elif self.s.scalar(select(func.count()).select_from(TENANTS).where(mine)):
            what = f"There is a tenant {self.name!r} already" if self.name else "There are tenants already"
            raise Conflict(
                f"{what}. Say --replace to replace, or --tenant to restore one under another name."
            )

    def _read(self, table: Table) -> Iterator[list[dict[str, Any]]]:
        """Its rows, by the piece. Parquet is read from its end: so it is unpacked first."""
        with tempfile.TemporaryFile(prefix="transrec-restore-") as file:
            with self.archive.open(part_name(table.name)) as packed:
                while piece := packed.read(1024**2):
                    file.write(piece)
            parquet = pq.ParquetFile(file)
            if not parquet.schema_arrow.equals(arrow.schema_of(table)):
                raise damaged(f"{table.name} has other columns")
            if parquet.metadata.num_rows != self.manifest.tables[table.name].rows:
                raise damaged(f"{table.name} has another number of rows")
            size = BLOBS if pa.large_binary() in parquet.schema_arrow.types else ROWS
            for batch in parquet.iter_batches(size):
                yield self._decoded(table, batch)

    @staticmethod
    def _decoded(table: Table, batch: pa.RecordBatch) -> list[dict[str, Any]]:
        try:
            return arrow.rows_of_batch(table, batch)
        except (TypeError, ValueError, OverflowError, RecursionError) as error:
            raise damaged(f"{table.name} holds a value that is none") from error

    def _changed(self, table: Table, row: dict[str, Any]) -> dict[str, Any]:
        column = serial(table)
        if column is not None:
            del row[column.name]
        for name, referred in references(table).items():
            row[name] = self._referred(table, name, referred, row[name])
        if renamed(table):
            row["id"] = self._renamed(table, row["id"])
        if table is TENANTS and self.name is not None:
            if row["name"] != self.manifest.tenant:
                raise damaged("it holds another tenant")
            row["name"] = self.name
        return row

    def _referred(self, table: Table, name: str, referred: str, old: str | None) -> str | None:
        """The new id of a row. What a tenant's back-up refers to must be in it, else it is another tenant's;
        and all of it must have the tenant: a key without one is the platform operator's.
        """
        new = self.new_ids.get(referred, {}).get(old or "")
        if new is None and self.manifest.tenant is not None and (old is not None or name == "tenant_id"):
            raise damaged(f"{table.name} refers to what is not in it")
        return new or old

    def _renamed(self, table: Table, old: str | None) -> str:
        if old is None or not re.match("[a-z]+_", old):  # ids are names of folders, too
            raise damaged(f"{table.name} has an id that is none")
        fresh = self.new_ids.setdefault(table.name, {})[old] = new_id(old.partition("_")[0])
        return fresh

    def _insert(self, table: Table, rows: list[dict[str, Any]]) -> None:
        if not rows:
            return
        if table is KEYS:
            self.s.execute(insert_into(self.s, ApiKey).on_conflict_do_nothing(), rows)
        else:
            self.s.execute(insert(table), rows)
