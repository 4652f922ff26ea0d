"""A release's items as a map: a sample of their vectors on the two axes along which they differ most.

PCA by numpy's eigh of the covariance: exact, deterministic, a second at most for 2,000 vectors of 768. Items
that are near each other are near on the map, not the other way round; `shares` says how much it keeps.
"""

import threading
from dataclasses import dataclass

import numpy as np
from cachetools import LRUCache, cached
from cachetools.keys import hashkey
from numpy.typing import NDArray

from app.serving.release import Bundle

KEPT = 64  # maps
AXES = 2


@dataclass(frozen=True, slots=True, eq=False)
class Map:
    """n sampled rows, where each lies, and which share of the sample's variance each axis keeps."""

    rows: NDArray[np.int64]  # (n,) rising
    points: NDArray[np.float32]  # (n, 2)
    shares: tuple[float, float]  # 0 where there is nothing to tell apart


def _key(bundle: Bundle, limit: int) -> tuple[object, ...]:
    return hashkey(bundle.folder, limit)


@cached(LRUCache(KEPT), key=_key, lock=threading.Lock())
def map_of(bundle: Bundle, limit: int) -> Map:
    """Return the map of at most `limit` items, drawn evenly: always the same ones of a release."""
    size = bundle.catalog.size
    rows = np.sort(np.random.default_rng(0).permutation(size)[:limit])
    points, shares = project(bundle.vectors[rows])
    return Map(rows, points, shares)


def project(vectors: NDArray[np.float32]) -> tuple[NDArray[np.float32], tuple[float, float]]:
    """Directions of vectors (n, d) -> points (n, 2) in their plane of most variance, and the axes' shares.

    Of length 1, for similar means near by angle; without that a few long vectors would be the map.
    """
    if len(vectors) == 0:
        return np.empty((0, AXES), np.float32), (0.0, 0.0)
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    centred = vectors / np.maximum(lengths, 1e-12)  # (n, d)
    centred = centred - centred.mean(0)
    variances, axes = np.linalg.eigh(centred.T @ centred)  # rising
    plane = axes[:, : -AXES - 1 : -1]  # (d, 2)
    # An axis may point either way: its greatest part is positive, so that a map looks the same each time.
    plane = plane * np.sign(plane[np.abs(plane).argmax(0), range(AXES)])
    kept, total = np.maximum(variances[: -AXES - 1 : -1], 0), float(np.maximum(variances, 0).sum())
    shares = kept / total if total > 1e-9 else np.zeros(AXES)  # less is rounding
    return (centred @ plane).astype(np.float32), (float(shares[0]), float(shares[1]))
