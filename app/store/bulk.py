"""Many rows by one INSERT, each database its own fastest way."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, cast

import psycopg
from sqlalchemy import ColumnElement, CursorResult, column, select, table, text
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from app.store.chunks import chunked

_CHUNK = 10_000
_STAGE = "incoming"
Rows = Iterable[tuple[Any, ...]]
Insert = sqlite.Insert | postgresql.Insert


def insert_rows(
    s: Session, insert: Insert, columns: Sequence[str], rows: Rows, order: Sequence[str] = ()
) -> int:
    """Run an INSERT with its ON CONFLICT for many rows; returns how many it wrote.

    Rows are tuples of `columns`, which stand in the order of the table's; JSON in them is text. They go in as
    they come, on PostgreSQL by `order` (SQL) first: two writers of the same rows then wait, not deadlock.
    """
    if s.get_bind().dialect.name == "sqlite":
        return _executed(s, insert, columns, rows)
    return _copied(s, insert, columns, rows, order)


def _executed(s: Session, insert: Insert, columns: Sequence[str], rows: Rows) -> int:
    """SQLite: one prepared statement, without SQLAlchemy's work on each row."""
    connection = s.connection()
    statement = str(insert.compile(connection, column_keys=list(columns)))
    return sum(connection.exec_driver_sql(statement, chunk).rowcount for chunk in chunked(rows, _CHUNK))


def _copied(s: Session, insert: Insert, columns: Sequence[str], rows: Rows, order: Sequence[str]) -> int:
    """PostgreSQL: COPY knows no conflicts, so it fills a table of the session's own first."""
    like = select(*(insert.table.c[name] for name in columns)).compile(s.connection())
    s.execute(text(f"CREATE TEMP TABLE {_STAGE} AS {like} WITH NO DATA"))
    _copy(s, f"COPY {_STAGE} ({', '.join(columns)}) FROM STDIN", rows)
    names: list[ColumnElement[Any]] = [column(name) for name in columns]
    staged = select(*names).select_from(table(_STAGE)).order_by(*map(text, order), text("ctid"))
    insert = insert.from_select(list(columns), staged, include_defaults=False)
    done = s.execute(insert.execution_options(preserve_rowcount=True))
    s.execute(text(f"DROP TABLE {_STAGE}"))
    return cast(CursorResult[Any], done).rowcount


def _copy(s: Session, statement: str, rows: Rows) -> None:
    connection = cast("psycopg.Connection[Any]", s.connection().connection.driver_connection)
    with _translated(statement), connection.cursor() as cursor, cursor.copy(statement.encode()) as copy:
        for row in rows:
            copy.write_row(row)


@contextmanager
def _translated(statement: str) -> Iterator[None]:
    """The driver's own errors as SQLAlchemy's, as if they came through it: `Database.session` knows those."""
    try:
        yield
    except psycopg.Error as error:
        raise DBAPIError.instance(statement, None, error, psycopg.Error) from error
