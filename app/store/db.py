"""The database: an engine, sessions that are one transaction each, and the schema's migration."""

import fcntl
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

import psycopg
from alembic import command
from alembic.config import Config
from sqlalchemy import Connection, Engine, Table, create_engine, event, func, make_url, select, text
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import DBAPIError, IntegrityError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.orm import Session

import migrations
from app.core.clock import now
from app.core.errors import NotFound, OutOfSpace, Unavailable

_BUSY_SECONDS = 30
_TRIES = 5  # of a transaction that loses to others
_MIGRATION_LOCK = 7_418_150_301  # any fixed number: the key of PostgreSQL's advisory lock
_READ_ONLY = "transrec_read_only"

# SQLSTATE classes: 08 connection, 40 deadlock or serialisation, 53 out of resources, 57 shutdown.
# 55P03: a lock was waited for too long.
_TRANSIENT_STATES = ("08", "40", "53", "57", "55P03")
_ORPHAN_STATE = "23503"
_TRANSIENT_SQLITE = ("database is locked", "unable to open database file", "disk i/o error")
_FULL_STATE, _FULL_SQLITE = "53100", "database or disk is full"

T = TypeVar("T")


class Database:
    """One database, SQLite or PostgreSQL; safe to share between threads.

    `url` is SQLAlchemy's: `sqlite:///path` or `postgresql+psycopg://...`.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self.is_sqlite = make_url(url).get_backend_name() == "sqlite"
        self.engine = _sqlite_engine(url) if self.is_sqlite else create_engine(url, pool_pre_ping=True)
        # One snapshot a transaction, as on SQLite: what several statements read fits together.
        self._read_engine = self.engine.execution_options(
            **({_READ_ONLY: True} if self.is_sqlite else {"isolation_level": "REPEATABLE READ"})
        )

    def session(self) -> AbstractContextManager[Session]:
        """Open a write session: committed at the end, rolled back on an error.

        Raises `Unavailable` when the database does not answer or is too busy.
        """
        return _session(self.engine, commit=True)

    def attempt(self, work: Callable[[Session], T]) -> T:
        """Return what `work` returns, done in a write session; raises as `session` does.

        It is done again when the database gave it up for another one's sake, as in a deadlock.
        """
        for _ in range(_TRIES - 1):
            try:
                return self._attempt(work)
            except Unavailable as error:
                if not _lost_a_race(error):
                    raise
        return self._attempt(work)

    def _attempt(self, work: Callable[[Session], T]) -> T:
        with self.session() as s:
            return work(s)

    def read(self) -> AbstractContextManager[Session]:
        """Open a session that only reads, one snapshot, and never waits for writers; raises `Unavailable`."""
        return _session(self._read_engine, commit=False)

    def migrate(self) -> None:
        """Bring the schema to the newest version; processes that start together take turns."""
        with _unavailable(), self._sqlite_lock(), self.engine.begin() as connection:
            if not self.is_sqlite:
                connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _MIGRATION_LOCK})
            command.upgrade(migration_config(connection), "head")

    def dispose(self) -> None:
        """Close all connections."""
        self.engine.dispose()

    def _sqlite_lock(self) -> AbstractContextManager[None]:
        path = make_url(self.url).database
        return _file_lock(Path(f"{path}.lock")) if self.is_sqlite and path else nullcontext()


def migration_config(connection: Connection) -> Config:
    """Return Alembic's configuration: our scripts, run over `connection`."""
    config = Config()
    config.set_main_option("script_location", str(Path(migrations.__path__[0])))
    config.attributes["connection"] = connection
    return config


def insert_into(s: Session, table: Any) -> sqlite.Insert | postgresql.Insert:
    """Return an INSERT in the session's dialect, which has `on_conflict_do_...`, into a mapped class."""
    target: Table = table.__table__
    return sqlite.insert(target) if s.get_bind().dialect.name == "sqlite" else postgresql.insert(target)


def db_now(s: Session) -> datetime:
    """Return the database's own time: machines whose clocks differ must agree when a lease ends.

    PostgreSQL's; SQLite is on this machine and has this one's.
    """
    if s.get_bind().dialect.name == "sqlite":
        return now()
    found: datetime = s.execute(select(func.clock_timestamp())).scalar_one()
    return found.astimezone(UTC)


@contextmanager
def _session(engine: Engine, commit: bool) -> Iterator[Session]:
    # Rows stay readable after the commit: callers hand them on when the session is closed.
    with _unavailable(), Session(engine, expire_on_commit=False) as s:
        yield s
        if commit:
            s.commit()


@contextmanager
def _unavailable() -> Iterator[None]:
    try:
        yield
    except PoolTimeout as error:
        raise Unavailable("All database connections are in use. Try again shortly.") from error
    except DBAPIError as error:
        if _is_full(error):
            raise OutOfSpace("The database's disk is full. Free space on it and try again.") from error
        if _is_transient(error):
            raise Unavailable("The database does not answer or is busy. Try again shortly.") from error
        if _is_orphan(error):
            raise NotFound("What this belongs to was deleted meanwhile. List what there is.") from error
        raise


def _lost_a_race(error: Unavailable) -> bool:
    cause = error.__cause__
    found = cause.orig if isinstance(cause, DBAPIError) else None
    return isinstance(found, psycopg.Error) and (found.sqlstate or "").startswith("40")


def _is_orphan(error: DBAPIError) -> bool:
    """Whether a row was refused because the one that it belongs to, such as its channel, is gone."""
    if not isinstance(error, IntegrityError):
        return False
    if isinstance(error.orig, psycopg.Error):
        return error.orig.sqlstate == _ORPHAN_STATE
    return str(error.orig).startswith("FOREIGN KEY")


def _is_full(error: DBAPIError) -> bool:
    if isinstance(error.orig, psycopg.Error):
        return error.orig.sqlstate == _FULL_STATE
    return str(error.orig).startswith(_FULL_SQLITE)


def _is_transient(error: DBAPIError) -> bool:
    if error.connection_invalidated:
        return True
    if not isinstance(error, OperationalError):
        return False
    if isinstance(error.orig, psycopg.Error):
        # A connection that could not be made has no SQLSTATE.
        state = error.orig.sqlstate
        return state is None or state.startswith(_TRANSIENT_STATES)
    return str(error.orig).lower().startswith(_TRANSIENT_SQLITE)


def _sqlite_engine(url: str) -> Engine:
    path = make_url(url).database
    if path:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
    engine = create_engine(url)
    event.listen(engine, "connect", _sqlite_connect)
    event.listen(engine, "begin", _sqlite_begin)
    return engine


def _sqlite_connect(connection: Any, _record: Any) -> None:
    # The driver must not begin transactions by itself: `_sqlite_begin` does.
    connection.isolation_level = None
    cursor = connection.cursor()
    cursor.execute(f"PRAGMA busy_timeout = {_BUSY_SECONDS * 1000}")
    cursor.execute("PRAGMA journal_mode = WAL")
    cursor.execute("PRAGMA synchronous = NORMAL")
    cursor.execute("PRAGMA foreign_keys = ON")
    cursor.close()


def _sqlite_begin(connection: Connection) -> None:
    # A transaction that reads first and writes later fails at once when another one has written in
    # between; taking the write lock at the start makes it wait its turn instead.
    read_only = connection.get_execution_options().get(_READ_ONLY, False)
    connection.exec_driver_sql("BEGIN" if read_only else "BEGIN IMMEDIATE")


@contextmanager
def _file_lock(path: Path) -> Iterator[None]:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
