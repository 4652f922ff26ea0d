"""`transrec backup` and `transrec restore`: back-ups of the configured database, with progress."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from app import bootstrap
from app.core.config import Settings
from app.core.valkey import redis_url
from app.store import backup
from app.store.backup import Manifest
from app.store.wake import Wake

_COLUMNS = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()


def write(settings: Settings, path: Path, tenant: str | None) -> Manifest:
    """Back up a tenant, or all, into a file; raises as `app.store.backup.write` does."""
    with bootstrap.migrated(settings) as database, _shown() as note:
        return backup.write(database, path, tenant, note)


def restore(settings: Settings, path: Path, tenant: str | None, replace: bool) -> Manifest:
    """Bring back what a file holds, and tell all servers; raises as `app.store.backup.restore` does."""
    with bootstrap.migrated(settings) as database, _shown() as note:
        manifest = backup.restore(database, path, tenant, replace, note)
    Wake(redis_url(settings)).look()
    return manifest


def described(manifest: Manifest, as_json: bool) -> str:
    """What a command prints of it."""
    if as_json:
        return json.dumps(manifest.to_dict())
    rows = sum(part.rows for part in manifest.tables.values())
    size = sum(part.bytes for part in manifest.tables.values())
    whose = f"tenant {manifest.tenant}" if manifest.tenant else "all tenants"
    return f"{whose}: {rows:,} rows, {size / 1e6:,.1f} MB, of {manifest.created_at}"


@contextmanager
def _shown() -> Iterator[backup.Progress]:
    console = Console(stderr=True)
    with Progress(*_COLUMNS, console=console, transient=True, disable=not console.is_terminal) as progress:
        bar = progress.add_task("rows", total=None)

        def note(table: str, done: int, total: int) -> None:
            progress.update(bar, description=table or "rows", completed=done, total=total)

        yield note
