"""Rows of a table as Arrow, and back: JSON as text, moments in microseconds, UTC."""

import json
from collections.abc import Iterable, Mapping
from typing import Any

import pyarrow as pa
from sqlalchemy import JSON, BigInteger, Boolean, Column, Double, Integer, LargeBinary, Table, Text
from sqlalchemy.types import TypeEngine

from app.store.tables import UtcDateTime

_TYPES: tuple[tuple[type[TypeEngine[Any]] | type[UtcDateTime], pa.DataType], ...] = (
    (UtcDateTime, pa.timestamp("us", "UTC")),
    (JSON, pa.large_string()),
    (Boolean, pa.bool_()),
    (BigInteger, pa.int64()),
    (Integer, pa.int64()),
    (Double, pa.float64()),
    (LargeBinary, pa.large_binary()),
    (Text, pa.large_string()),
)


def schema_of(table: Table) -> pa.Schema:
    """The columns of a table."""
    return pa.schema([pa.field(column.name, _type_of(column)) for column in table.c])


def batch_of(table: Table, rows: Iterable[Mapping[str, Any]]) -> pa.RecordBatch:
    """Rows, as the database gives them."""
    texts = _json_columns(table)
    plain = [
        {name: json.dumps(value) if name in texts else value for name, value in row.items()} for row in rows
    ]
    return pa.RecordBatch.from_pylist(plain, schema_of(table))


def rows_of_batch(table: Table, batch: pa.RecordBatch) -> list[dict[str, Any]]:
    """Rows, as the database takes them; raises `ValueError` for JSON that is none."""
    texts = _json_columns(table)
    return [
        {name: json.loads(value) if name in texts else value for name, value in row.items()}
        for row in batch.to_pylist()
    ]


def _json_columns(table: Table) -> set[str]:
    return {column.name for column in table.c if isinstance(column.type, JSON)}


def _type_of(column: Column[Any]) -> pa.DataType:
    for kind, found in _TYPES:
        if isinstance(column.type, kind):
            return found
    raise LookupError(f"a back-up knows no {column.type!r}, which {column} is")
