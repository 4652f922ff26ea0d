"""The approximate indexes: cells of near vectors (IVF) and a graph of neighbours (HNSW).

Both answer with rows of the (N, d) matrix that they were made of. Their `effort` is what faiss calls nprobe
and efSearch: more of it finds more and takes longer.
"""

import math
from pathlib import Path
from typing import Protocol, Self

import faiss
import numpy as np
from faiss.contrib.ivf_tools import add_preassigned
from numpy.typing import NDArray

Found = tuple[NDArray[np.float32], NDArray[np.int64]]
"""Scores and rows, (B, k) each, best first; the row is -1 where nothing was found."""

POINTS_A_CELL = 64  # k-means sees this many a cell: more makes building slower and recall no better
LINKS, BUILD_EFFORT = 32, 80  # faiss's M and efConstruction
ROWS_A_STEP = 100  # a step of a graph costs as much as so many rows of exact search: measured
DEAD_MOST = 1 / 3  # of a graph's points; beyond it the graph is built anew


class Approximate(Protocol):
    """What `Index` asks of an approximate index."""

    index: faiss.Index
    first_effort: int

    @classmethod
    def build(cls, vectors: NDArray[np.float32]) -> Self:
        """Index finite vectors (N, d) float32, N at least 1."""

    @classmethod
    def load(cls, path: Path, vectors: NDArray[np.float32]) -> Self:
        """Map a file into memory; raises what faiss does, and `ValueError` if it is of other vectors."""

    def changed(self, kept: NDArray[np.int64], vectors: NDArray[np.float32]) -> Self | None:
        """The index of `vectors` (N', d), which begins with this one's rows `kept`; None: build it anew."""

    def visited(self, effort: int) -> float:
        """What a search costs, as the number of rows that exact search scores in the same time."""

    def search(
        self, queries: NDArray[np.float32], k: int, effort: int, allowed: NDArray[np.bool_] | None
    ) -> Found:
        """Queries (B, d) -> the best rows found among `allowed` (N,)."""


class Cells:
    """IVF: cells around the centres of k-means, of which a query visits the `effort` best.

    Cells are made by distance and visited by inner product. By angle, as faiss makes them for inner products,
    popular items (their last coordinate is large) end up in cells that no query visits.
    """

    first_effort = 1

    def __init__(self, index: faiss.IndexIVFFlat) -> None:
        self.index = index

    @classmethod
    def build(cls, vectors: NDArray[np.float32]) -> Self:
        """See `Approximate`."""
        dim, cells = vectors.shape[1], _cell_count(len(vectors))
        means = faiss.Kmeans(
            dim, cells, niter=10, min_points_per_centroid=1, max_points_per_centroid=POINTS_A_CELL
        )
        means.train(vectors)
        return cls._of(means.centroids, vectors, _nearest(vectors, means.centroids))

    @classmethod
    def load(cls, path: Path, vectors: NDArray[np.float32]) -> Self:
        """See `Approximate`."""
        index = _mapped(path, faiss.IndexIVFFlat)
        if (index.ntotal, index.d) != vectors.shape:
            raise ValueError(f"the cells are of {index.ntotal} x {index.d} values")
        return cls(index)

    @classmethod
    def _of(
        cls, centres: NDArray[np.float32], vectors: NDArray[np.float32], cell_of: NDArray[np.int64]
    ) -> Self:
        by_score = faiss.IndexFlatIP(vectors.shape[1])
        by_score.add(centres)
        index = faiss.IndexIVFFlat(by_score, by_score.d, len(centres), faiss.METRIC_INNER_PRODUCT)
        index.is_trained = True
        add_preassigned(index, vectors, cell_of)
        return cls(index)

    def changed(self, kept: NDArray[np.int64], vectors: NDArray[np.float32]) -> Self | None:
        """See `Approximate`: kept rows stay in their cells, which are made anew at four times the rows."""
        if _cell_count(len(vectors)) > 2 * self.index.nlist:
            return None
        centres = self.index.quantizer.reconstruct_n(0, self.index.nlist)
        cell_of = np.concatenate([self._cell_of()[kept], _nearest(vectors[len(kept) :], centres)])
        return self._of(centres, vectors, cell_of)

    def _cell_of(self) -> NDArray[np.int64]:
        """The cell of each row (N,)."""
        cell_of = np.empty(self.index.ntotal, np.int64)
        lists = self.index.invlists
        for cell in range(self.index.nlist):
            if size := lists.list_size(cell):
                cell_of[faiss.rev_swig_ptr(lists.get_ids(cell), size)] = cell
        return cell_of

    def visited(self, effort: int) -> float:
        """See `Approximate`."""
        cells = int(self.index.nlist)
        return effort * int(self.index.ntotal) / cells

    def search(
        self, queries: NDArray[np.float32], k: int, effort: int, allowed: NDArray[np.bool_] | None
    ) -> Found:
        """See `Approximate`."""
        chosen = None if allowed is None else selector(allowed)
        found: Found = self.index.search(
            queries, k, params=faiss.SearchParametersIVF(nprobe=effort, sel=chosen)
        )
        return found


class Graph:
    """HNSW: a graph of near points; a search walks it towards the query with `effort` candidates at hand.

    A graph by inner product leaves a tenth of the answers out of reach whatever the effort. So each vector x
    gets one more coordinate, sqrt(r^2 - |x|^2) with r the length of the longest: all are of length r then,
    and the nearest to (q, 0) by distance is the best by inner product (Bachrach et al., RecSys 2014).

    Removed rows stay in the graph as points with the id -1: they lead on but are never an answer.
    """

    first_effort = 16

    def __init__(self, index: faiss.IndexIDMap, vectors: NDArray[np.float32]) -> None:
        self.index, self._vectors = index, vectors
        self._rows = faiss.vector_to_array(index.id_map)  # (points,) row of each point, -1: dead
        self._size = len(vectors)

    @classmethod
    def build(cls, vectors: NDArray[np.float32]) -> Self:
        """See `Approximate`."""
        graph = faiss.IndexHNSWFlat(vectors.shape[1] + 1, LINKS)
        graph.hnsw.efConstruction = BUILD_EFFORT
        index = faiss.IndexIDMap(graph)
        longest = float(np.einsum("nd,nd->n", vectors, vectors).max())
        index.add_with_ids(_lifted(vectors, longest), np.arange(len(vectors)))
        return cls(index, vectors)

    @classmethod
    def load(cls, path: Path, vectors: NDArray[np.float32]) -> Self:
        """See `Approximate`."""
        index = _mapped(path, faiss.IndexIDMap)
        alive = int(np.count_nonzero(faiss.vector_to_array(index.id_map) >= 0))
        if (alive, index.d - 1) != vectors.shape:
            raise ValueError(f"the graph is of {alive} x {index.d - 1} values")
        return cls(index, vectors)

    def changed(self, kept: NDArray[np.int64], vectors: NDArray[np.float32]) -> Self | None:
        """See `Approximate`: added rows become points, removed ones die, too many dead are None."""
        points, added = len(self._rows), vectors[len(kept) :]
        if points - len(kept) > DEAD_MOST * (points + len(added)):
            return None
        # Not clone_index: the clone of a mapped index cannot grow.
        index = faiss.deserialize_index(faiss.serialize_index(self.index))
        alive = np.flatnonzero(self._rows >= 0)
        point_of = np.empty(self._size, np.int64)
        point_of[self._rows[alive]] = alive
        rows = np.full(points, -1, np.int64)
        rows[point_of[kept]] = np.arange(len(kept))
        faiss.copy_array_to_vector(rows, index.id_map)
        # Every vector of the first build has the length r, point 0 too.
        longest = float(np.square(faiss.downcast_index(index.index).reconstruct(0)).sum())
        index.add_with_ids(_lifted(added, longest), np.arange(len(kept), len(vectors)))
        return type(self)(index, vectors)

    def visited(self, effort: int) -> float:
        """See `Approximate`."""
        return effort * ROWS_A_STEP * len(self._rows) / self._size

    def search(
        self, queries: NDArray[np.float32], k: int, effort: int, allowed: NDArray[np.bool_] | None
    ) -> Found:
        """See `Approximate`."""
        chosen = faiss.IDSelectorRange(0, self._size) if allowed is None else selector(allowed)
        effort = math.ceil(effort * len(self._rows) / self._size)  # the dead take their share
        params = faiss.SearchParametersHNSW(efSearch=effort, sel=chosen)
        lifted = np.column_stack([queries, np.zeros(len(queries), np.float32)])
        rows: NDArray[np.int64] = self.index.search(lifted, k, params=params)[1]
        scores = np.einsum("bkd,bd->bk", self._vectors[rows], queries)
        scores[rows < 0] = -np.inf
        best = np.argsort(-scores, axis=1, kind="stable")  # (B, k), by distance already but for rounding
        return np.take_along_axis(scores, best, 1), np.take_along_axis(rows, best, 1)


def selector(allowed: NDArray[np.bool_]) -> faiss.IDSelector:
    """The rows of a mask (N,); it holds the bits that faiss reads, so keep it until the search is done."""
    return faiss.IDSelectorBitmap(np.packbits(allowed, bitorder="little"))


def _cell_count(size: int) -> int:
    return max(1, math.isqrt(size))


def _nearest(vectors: NDArray[np.float32], centres: NDArray[np.float32]) -> NDArray[np.int64]:
    """The centre (N,) nearest to each vector (N, d) by distance."""
    nearest: NDArray[np.int64] = faiss.knn(vectors, centres, 1)[1][:, 0]
    return np.ascontiguousarray(nearest)


def _lifted(vectors: NDArray[np.float32], longest: float) -> NDArray[np.float32]:
    """(N, d) -> (N, d + 1) of squared length `longest`; a longer vector keeps its own length."""
    lengths = np.einsum("nd,nd->n", vectors, vectors)
    return np.column_stack([vectors, np.sqrt(np.maximum(longest - lengths, 0))])


def _mapped(path: Path, kind: type[faiss.Index]) -> faiss.Index:
    index = faiss.read_index(str(path), faiss.IO_FLAG_MMAP_IFC)
    if not isinstance(index, kind):
        raise ValueError(f"the file holds another kind of index, {type(index).__name__}")
    return index
