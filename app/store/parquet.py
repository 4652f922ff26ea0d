"""Rows out of a Parquet file, batch by batch, only the columns that are wanted."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from app.core.errors import Invalid, TooLarge

_BATCH = 500  # rows in memory at a time
_VALUE_BYTES = 8  # counted for any value, be it null
_MAX_FIXED_BYTES = 32  # the widest decimal; longer values of fixed length are binary data


def read_parquet(
    path: Path,
    check: Callable[[list[str]], None],
    wanted: Callable[[list[str]], list[str]],
    max_row_bytes: int,
    max_bytes: int,
) -> Iterator[tuple[int, dict[str, Any] | str]]:
    """Yield (row number from 1, row), or the reason for a row of more than `max_row_bytes`.

    `check` may refuse the columns, `wanted` chooses among them. Raises `Invalid` when the file is
    broken or no Parquet at all, `TooLarge` when it decodes to more than `max_bytes`.
    """
    number = total = 0
    with _opened(path) as file:
        names = list(file.schema_arrow.names)
        check(names)
        columns = wanted(names)
        _check_claims(file, columns, max_bytes)
        for batch in file.iter_batches(batch_size=_BATCH, columns=columns, use_threads=False):
            total += _size(batch.to_struct_array())
            if total > max_bytes:
                raise _too_large(max_bytes)
            for row in _rows(_microseconds(batch), max_row_bytes):
                number += 1
                yield number, row


@contextmanager
def _opened(path: Path) -> Iterator[pq.ParquetFile]:
    try:
        leaves = _text_leaves(path)
        # As a dictionary a text is in memory once, however many rows repeat it.
        with pq.ParquetFile(path, read_dictionary=leaves, arrow_extensions_enabled=False) as file:
            yield file
    except (pa.ArrowException, OSError, UnicodeDecodeError, OverflowError) as error:
        raise Invalid(f"The file is not readable as Parquet: {str(error)[:200]}") from error


def _text_leaves(path: Path) -> list[str]:
    with pq.ParquetFile(path) as file:
        leaves = [file.schema.column(index) for index in range(len(file.schema))]
    for leaf in leaves:
        if leaf.physical_type == "FIXED_LEN_BYTE_ARRAY" and leaf.length > _MAX_FIXED_BYTES:
            raise Invalid(f"The column {leaf.path[:80]!r} holds binary data. Leave it out.")
    return [leaf.path for leaf in leaves if leaf.physical_type == "BYTE_ARRAY"]


def _check_claims(file: pq.ParquetFile, columns: list[str], max_bytes: int) -> None:
    """Refuse by the footer, before anything is unpacked."""
    prefixes = tuple(f"{column}." for column in columns)
    total = 0
    for index in range(file.metadata.num_row_groups):
        group = file.metadata.row_group(index)
        for chunk in map(group.column, range(group.num_columns)):
            if f"{chunk.path_in_schema}.".startswith(prefixes):
                total += max(chunk.total_uncompressed_size, chunk.num_values * _VALUE_BYTES)
    if total > max_bytes:
        raise _too_large(max_bytes)


def _too_large(max_bytes: int) -> TooLarge:
    return TooLarge(f"The file unpacks to more than {max_bytes} bytes. Split it, or leave columns out.")


def _rows(batch: pa.RecordBatch, limit: int) -> Iterator[dict[str, Any] | str]:
    """Yield a batch's rows, made into Python objects piece by piece of at most `limit` bytes."""
    if _size(batch.to_struct_array()) <= limit:
        yield from _decoded(batch).to_pylist()
    elif len(batch) == 1:
        yield f"the row is longer than {limit} bytes"
    else:
        half = len(batch) // 2
        yield from _rows(batch.slice(0, half), limit)
        yield from _rows(batch.slice(half), limit)


def _decoded(batch: pa.RecordBatch) -> pa.RecordBatch:
    # Texts out of a dictionary are several times slower to turn into Python objects.
    columns = [
        column.dictionary_decode() if pa.types.is_dictionary(column.type) else column
        for column in batch.columns
    ]
    return pa.RecordBatch.from_arrays(columns, names=batch.schema.names)


def _size(array: pa.Array) -> int:
    """Return the bytes of an array's values, where a repeated text counts every time."""
    kind = array.type
    if pa.types.is_struct(kind):
        return sum((_size(field) for field in array.flatten()), start=0)
    if pa.types.is_dictionary(kind):
        counted = array.indices.drop_null().value_counts()
        lengths = pc.binary_length(array.dictionary.take(counted.field("values")))
        texts = pc.sum(pc.multiply(lengths.cast(pa.int64()), counted.field("counts"))).as_py() or 0
        return int(texts) + len(array) * _VALUE_BYTES
    inner = _size(array.flatten()) if pa.types.is_nested(kind) else 0
    return inner + len(array) * _VALUE_BYTES


def _microseconds(batch: pa.RecordBatch) -> pa.RecordBatch:
    # Python's datetime has no nanoseconds: without this such a column cannot be read at all.
    fields = [
        field.with_type(pa.timestamp("us", field.type.tz)) if _has_nanoseconds(field.type) else field
        for field in batch.schema
    ]
    return batch.cast(pa.schema(fields), safe=False)


def _has_nanoseconds(kind: pa.DataType) -> bool:
    return bool(pa.types.is_timestamp(kind) and kind.unit == "ns")
