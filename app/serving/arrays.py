"""Arrays in a file that processes share: written once as safetensors, memory-mapped by whoever reads."""

import errno
import json
import os
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import save_file

from app.core.errors import Invalid

DTYPES = {"U8": np.uint8, "I32": np.int32, "I64": np.int64, "F32": np.float32, "F64": np.float64}


def write_arrays(path: Path, arrays: Mapping[str, NDArray[np.generic]]) -> None:
    """Write arrays of uint8, int32, int64, float32, float64; raises `OSError` when the disk fails."""
    try:
        save_file({name: np.ascontiguousarray(array) for name, array in arrays.items()}, path)
    except SafetensorError as error:  # which tells the system's errors by their text alone
        code = errno.ENOSPC if f"(os error {errno.ENOSPC})" in str(error) else errno.EIO
        raise OSError(code, os.strerror(code), str(path)) from error


def map_arrays(path: Path) -> dict[str, NDArray[np.generic]]:
    """The arrays of a file, read-only and read from disk when they are touched.

    The safetensors library would copy them into memory. Raises `Invalid` for a file that is not whole.
    """
    try:
        # A safetensors file: the header's length in 8 bytes, the header in JSON, the arrays.
        data = np.memmap(path, np.uint8, "r").view(np.ndarray)  # whose indexing is faster
        start = 8 + int.from_bytes(data[:8].tobytes(), "little")
        header = json.loads(data[8:start].tobytes())
        return {k: _view(data[start:], **v) for k, v in header.items() if k != "__metadata__"}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise Invalid(
            f"The release's file {path.name} is damaged. Remove its folder: it is built again."
        ) from error


def _view(
    data: NDArray[np.uint8], dtype: str, shape: list[int], data_offsets: list[int]
) -> NDArray[np.generic]:
    begin, end = data_offsets
    if end > len(data):
        raise ValueError("the file ends too early")
    return data[begin:end].view(DTYPES[dtype]).reshape(shape)
