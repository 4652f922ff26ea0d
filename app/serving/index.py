"""The index of a channel's item vectors: exact, or approximate with a recall that was measured.

Only this file and `ann.py` import faiss.
"""

import json
import math
import threading
from collections.abc import Callable
from pathlib import Path
from typing import IO, Literal, Self, get_args

import faiss
import numpy as np
from numpy.typing import NDArray

from app.core.errors import Invalid
from app.serving.ann import Approximate, Cells, Found, Graph

Kind = Literal["flat", "ivf", "hnsw"]
Asked = Kind | Literal["auto"]

FLAT_MOST = 200_000  # rows that "auto" searches exactly: about 1 ms a query on one core
RECALL_AT = 10
RECALL_LEAST = 0.95
SAMPLE = 200  # queries that recall is measured with
MAX_GPU = 2048  # faiss's own limit on GPUs, of k and of nprobe
VECTORS, APPROXIMATE, MADE = "vectors.npy", "approximate.faiss", "index.json"
_DAMAGE = OSError, EOFError, ValueError, TypeError, AttributeError, LookupError, RuntimeError, MemoryError
# numpy reads a header by `ast`, which CPython 3.11 cannot in two threads at once: it adds up their recursion.
_PARSER = threading.Lock()
_KINDS: dict[Kind, type[Approximate]] = {"ivf": Cells, "hnsw": Graph}


class Index:
    """Inner-product search over item vectors (N, d) float32; immutable, safe to share between threads.

    `recall` is the share of the exact ten best that `search` found at the last build. `vectors` is read-only;
    after `load` it is a file mapped into memory, which processes share.
    """

    def __init__(
        self,
        vectors: NDArray[np.float32],
        approximate: Approximate | None = None,
        asked: Asked = "auto",
        kind: Kind = "flat",
        effort: int = 0,
        recall: float = 1.0,
    ) -> None:
        self.size, self.dim = vectors.shape
        self.vectors = vectors.view()
        self.vectors.flags.writeable = False
        self.kind, self.recall = kind, recall
        self._approximate, self._asked, self._effort = approximate, asked, effort
        self._gpu = _on_gpu(vectors, kind, approximate)
        self._gpu_lock = threading.Lock()  # a GPU index serves one thread at a time

    @classmethod
    def build(
        cls,
        vectors: NDArray[np.float32],
        kind: Asked = "auto",
        queries: NDArray[np.float32] | None = None,
    ) -> Self:
        """Index a copy of the vectors; an approximate kind searches as far as `RECALL_LEAST` asks for.

        `queries` (Q, d) measure the recall, best real ones; without them rows of `vectors` do, with a 1 as
        last coordinate. An empty index is flat. Raises `Invalid` for NaN and infinite values.
        """
        own = _finite(np.array(vectors, dtype=np.float32, order="C"))
        made = kind_for(kind, len(own))
        if made == "flat":
            return cls(own, asked=kind)
        approximate = _KINDS[made].build(own)
        index = cls(own, approximate, kind, made, approximate.first_effort)
        if queries is None or len(queries) == 0:
            queries = own[np.random.default_rng(0).integers(len(own), size=SAMPLE)]
            queries[:, -1] = 1
        index._tune(_finite(queries, "The queries"))
        return index

    def _tune(self, queries: NDArray[np.float32]) -> None:
        """Double the effort until recall is reached, at the latest when the search is exact."""
        k = min(RECALL_AT, self.size)
        exact, _ = self._exact(_rows_of(queries, self.dim), k, None)
        # By score, since rows of equal vectors are equally right; less what rounding may do.
        least = exact[:, -1:] - 1e-5 * np.abs(exact).max()
        while True:
            self.recall = float((self.search(queries, k)[0] >= least).mean())
            if self.recall >= RECALL_LEAST or self._effort > self.size:
                return
            self._effort *= 2

    def changed(
        self,
        kept: NDArray[np.int64],
        added: NDArray[np.float32],
        queries: NDArray[np.float32] | None = None,
    ) -> "Index":
        """A new index of rows `kept` (distinct, in that order), then of `added` (A, d); this one goes on.

        It keeps this one's kind and recall and trains nothing, until it has outgrown its build: then it is
        built anew, with `queries` as in `build`. Raises `Invalid` for NaN and infinite values.
        """
        vectors = np.concatenate([self.vectors[kept], _finite(_rows_of(added, self.dim))])
        if self._approximate is not None:
            approximate = self._approximate.changed(kept, vectors) if len(vectors) else None
            if approximate is not None:
                return Index(vectors, approximate, self._asked, self.kind, self._effort, self.recall)
        elif kind_for(self._asked, len(vectors)) == "flat":
            return Index(vectors, asked=self._asked)
        return Index.build(vectors, self._asked, queries)

    def search(self, queries: NDArray[np.float32], k: int, allowed: NDArray[np.bool_] | None = None) -> Found:
        """Queries (B, d) -> scores and rows (B, k'), best first, of the rows that `allowed` (N,) marks.

        k' = min(k, rows allowed), always filled with distinct rows: where an approximate search finds
        fewer, an exact one answers. Raises `Invalid` for queries whose scores are not numbers.
        """
        queries = _rows_of(queries, self.dim)
        if allowed is not None and allowed.shape != (self.size,):
            raise ValueError(f"a mask of {allowed.shape} for {self.size} rows")
        count = self.size if allowed is None else int(np.count_nonzero(allowed))
        k = min(k, count)
        if k <= 0 or len(queries) == 0:
            shape = len(queries), max(k, 0)
            return np.empty(shape, np.float32), np.empty(shape, np.int64)
        scores, rows = self._find(queries, k, count, allowed)
        short = rows[:, -1] < 0
        if short.any():
            scores[short], rows[short] = self._exact(queries[short], k, allowed)
            if (rows < 0).any():
                raise Invalid("The query's scores are not numbers. Send finite values.")
        return scores, rows

    def _find(
        self, queries: NDArray[np.float32], k: int, count: int, allowed: NDArray[np.bool_] | None
    ) -> Found:
        effort = 0
        if self._approximate is not None:
            # The recall is that of ten rows out of all: more rows, or out of fewer, are spread wider.
            effort = math.ceil(self._effort * max(1, k / RECALL_AT) * self.size / count)
            if self._approximate.visited(effort) >= count:
                return self._exact(queries, k, allowed)
        if self._gpu is not None and allowed is None and max(k, effort) <= MAX_GPU:
            params = faiss.SearchParametersIVF(nprobe=effort) if effort else None
            with self._gpu_lock:
                found: Found = self._gpu.search(queries, k, params=params)
            return found
        if self._approximate is None:
            return self._exact(queries, k, allowed)
        return self._approximate.search(queries, k, effort, allowed)

    def _exact(self, queries: NDArray[np.float32], k: int, allowed: NDArray[np.bool_] | None) -> Found:
        """As faiss's flat index does, but over an array of numpy, which can be a mapped file."""
        scores = np.empty((len(queries), k), np.float32)
        rows = np.empty((len(queries), k), np.int64)
        chosen = None if allowed is None else faiss.IDSelectorArray(np.flatnonzero(allowed))
        inputs = faiss.swig_ptr(queries), faiss.swig_ptr(self.vectors), self.dim, len(queries), self.size
        faiss.knn_inner_product(*inputs, k, faiss.swig_ptr(scores), faiss.swig_ptr(rows), chosen)
        return scores, rows

    def save(self, folder: Path) -> None:
        """Write the index into an existing folder; one that is mapped from there goes on unharmed."""
        (folder / MADE).unlink(missing_ok=True)  # written last: without it there is no index
        sizes = {VECTORS: _write(folder / VECTORS, lambda file: np.save(file, self.vectors))}
        if self._approximate is not None:
            inner = self._approximate.index
            sizes[APPROXIMATE] = _write(
                folder / APPROXIMATE,
                lambda file: faiss.write_index(inner, faiss.PyCallbackIOWriter(file.write)),
            )
        made = {"asked": self._asked, "kind": self.kind, "effort": self._effort, "recall": self.recall}
        _write(folder / MADE, lambda file: file.write(json.dumps(made | {"sizes": sizes}).encode()))

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Map a saved index into memory: nothing is read but headers. Raises `Invalid` for damaged files."""
        try:
            made = json.loads((folder / MADE).read_bytes())
            # faiss does not see that the last few bytes of a mapped file are missing.
            if any((folder / name).stat().st_size != size for name, size in made.pop("sizes").items()):
                raise ValueError("a file has another size than was written")
            with _PARSER:
                vectors = np.lib.format.open_memmap(folder / VECTORS, mode="r")
            return cls._of_files(vectors.view(np.ndarray), folder / APPROXIMATE, **made)
        except _DAMAGE as error:
            reason = str(error).splitlines()[0][:200] if str(error) else type(error).__name__
            raise Invalid(f"The index in '{folder}' is damaged: {reason}. Build it again.") from error

    @classmethod
    def _of_files(
        cls, vectors: NDArray[np.float32], path: Path, asked: Asked, kind: Kind, effort: int, recall: float
    ) -> Self:
        if vectors.dtype != np.float32 or vectors.ndim != 2 or not vectors.flags.c_contiguous:
            raise ValueError(f"its vectors are {vectors.dtype} {vectors.shape}")
        if {asked, kind} - {"auto", *get_args(Kind)} or effort < (kind != "flat") or not 0 <= recall <= 1:
            raise ValueError(f"it says {asked!r}, {kind!r}, {effort!r}, {recall!r} of itself")
        approximate = None if kind == "flat" else _KINDS[kind].load(path, vectors)
        return cls(vectors, approximate, asked, kind, effort, recall)


def kind_for(asked: Asked, size: int) -> Kind:
    """The kind that `Index.build` makes of so many rows."""
    if size == 0:
        return "flat"
    if asked != "auto":
        return asked
    return "flat" if size <= FLAT_MOST else "ivf"


def _rows_of(array: NDArray[np.float32], dim: int) -> NDArray[np.float32]:
    """The array as faiss reads it, which checks nothing."""
    if array.ndim != 2 or array.shape[1] != dim:
        raise ValueError(f"an array of {array.shape} where rows of {dim} are expected")
    return np.ascontiguousarray(array, np.float32)


def _finite(vectors: NDArray[np.float32], what: str = "The item vectors") -> NDArray[np.float32]:
    if not np.isfinite(vectors).all():
        raise Invalid(f"{what} hold NaN or infinite values. Train the adapter again.")
    return vectors


def _on_gpu(vectors: NDArray[np.float32], kind: Kind, approximate: Approximate | None) -> faiss.Index | None:
    # faiss-cpu lacks these names, faiss-gpu may find no GPU; graphs stay on the CPU.
    if kind == "hnsw" or not hasattr(faiss, "StandardGpuResources") or faiss.get_num_gpus() == 0:
        return None
    if approximate is not None:
        return faiss.index_cpu_to_gpu(faiss.StandardGpuResources(), 0, approximate.index)
    flat = faiss.IndexFlatIP(vectors.shape[1])
    flat.add(vectors)
    return faiss.index_cpu_to_gpu(faiss.StandardGpuResources(), 0, flat)


def _write(path: Path, write: Callable[[IO[bytes]], object]) -> int:
    """Aside, then in place of the old file, which may be mapped; the bytes written."""
    aside = path.with_suffix(".part")
    with aside.open("wb") as file:
        write(file)
    aside.replace(path)
    return path.stat().st_size
