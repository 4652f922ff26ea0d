"""Nearest items: the only file that imports faiss."""

import threading

import faiss
import numpy as np
from numpy.typing import NDArray

MAX_GPU_K = 2048  # faiss's own limit on GPUs


class FlatIndex:
    """Exact inner-product search over item vectors (n, d) float32; on the GPU where faiss has one.

    Safe to share between threads.
    """

    def __init__(self, vectors: NDArray[np.float32]) -> None:
        self.size, self.dim = vectors.shape
        self._cpu = faiss.IndexFlatIP(self.dim)
        self._cpu.add(np.ascontiguousarray(vectors, dtype=np.float32))
        self._gpu = _on_gpu(self._cpu)
        self._gpu_lock = threading.Lock()  # a GPU index serves one thread at a time

    def search(self, queries: NDArray[np.float32], k: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """Queries (B, d) -> scores (B, k) and rows (B, k), best first; k is cut to the index's size."""
        k = min(k, self.size)
        if k == 0:
            empty = (len(queries), 0)
            return np.empty(empty, np.float32), np.empty(empty, np.int64)
        if self._gpu is not None and k <= MAX_GPU_K:
            with self._gpu_lock:
                scores, rows = self._gpu.search(queries, k)
        else:
            scores, rows = self._cpu.search(queries, k)
        return scores, rows


def _on_gpu(index: faiss.Index) -> faiss.Index | None:
    # faiss-cpu lacks these names, faiss-gpu may find no GPU.
    if not hasattr(faiss, "StandardGpuResources") or faiss.get_num_gpus() == 0:
        return None
    return faiss.index_cpu_to_gpu(faiss.StandardGpuResources(), 0, index)
