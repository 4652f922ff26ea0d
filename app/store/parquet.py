"""Rows out of a Parquet file, batch by batch, only the columns that are wanted."""

from collections.abc import Callable, Iterator
from itertools import chain
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from app.core.errors import Invalid

_BATCH = 2000  # rows in memory at a time


def read_parquet(
    path: Path, check: Callable[[list[str]], None], wanted: Callable[[list[str]], list[str]]
) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield (row number from 1, row); `check` may refuse the columns, `wanted` chooses among them.

    Raises `Invalid` when the file is broken or no Parquet at all.
    """
    try:
        with pq.ParquetFile(path) as file:
            names = list(file.schema_arrow.names)
            check(names)
            batches = file.iter_batches(batch_size=_BATCH, columns=wanted(names), use_threads=False)
            rows = chain.from_iterable(_microseconds(batch).to_pylist() for batch in batches)
            yield from enumerate(rows, start=1)
    except (pa.ArrowException, OSError, UnicodeDecodeError, OverflowError) as error:
        raise Invalid(f"The file is not readable as Parquet: {str(error)[:200]}") from error


def _microseconds(batch: pa.RecordBatch) -> pa.RecordBatch:
    # Python's datetime has no nanoseconds: without this such a column cannot be read at all.
    fields = [
        field.with_type(pa.timestamp("us", field.type.tz)) if _has_nanoseconds(field.type) else field
        for field in batch.schema
    ]
    return batch.cast(pa.schema(fields), safe=False)


def _has_nanoseconds(kind: pa.DataType) -> bool:
    return bool(pa.types.is_timestamp(kind) and kind.unit == "ns")
