"""The index by kind and size: building, loading, searching, changing; each beside exact search by numpy.

python -m tests.benchmarks.index [--sizes 1000 10000 100000] [--rounds 5] [--kinds flat ivf hnsw]

Vectors like those that the shipped text backbone makes of 9,484 grocery products: 64 values of length about
1.8 in 300 clusters, the same eigenvalues (1 / i) and the same recall after as many cells; then a bias,
0.25 log(1 + interactions). Users are of length 8. Prints a Markdown table of medians.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import faiss
import numpy as np
from numpy.typing import NDArray

from app.serving.index import Index, Kind

Floats = NDArray[np.float32]
DIM, CLUSTERS, SPREAD, PRIOR = 64, 300, 0.55, 0.25
HEAD = [
    "rows",
    "kind",
    "build s",
    "MB",
    "load ms",
    "us/query, 1",
    "us/query, 16",
    "of numpy, 1",
    "of numpy, 16",
    "recall@10",
    "at build",
    "half allowed us",
    "1 % allowed us",
    "upsert ms",
]


def catalogue(size: int) -> Floats:
    """Item vectors (size, 65)."""
    rng = np.random.default_rng(0)
    scale = np.arange(1, DIM + 1) ** -0.5
    centres = rng.normal(size=(CLUSTERS, DIM))
    content = scale * (centres[rng.integers(CLUSTERS, size=size)] + SPREAD * rng.normal(size=(size, DIM)))
    content *= (
        1.8 * np.exp(0.18 * rng.normal(size=(size, 1))) / np.linalg.norm(content, axis=1, keepdims=True)
    )
    return np.column_stack([content, PRIOR * rng.normal(5, 1.7, size).clip(0)]).astype(np.float32)


def users(items: Floats, count: int) -> Floats:
    """Queries (count, 65): near the last item of a history and less near three others, then a 1."""
    rng = np.random.default_rng(1)
    rows = rng.integers(len(items), size=(count, 4))
    wanted = (items[rows, :-1] * np.array([1.0, 0.3, 0.3, 0.3])[:, None]).sum(1)
    wanted *= 8 / np.linalg.norm(wanted, axis=1, keepdims=True)
    return np.column_stack([wanted, np.ones(count)]).astype(np.float32)


def by_numpy(items: Floats, queries: Floats, k: int) -> NDArray[np.int64]:
    """A matrix product, then the best k (B, k)."""
    scores = queries @ items.T
    best = np.argpartition(-scores, k, axis=1)[:, :k]
    order = np.argsort(-np.take_along_axis(scores, best, 1), axis=1)
    return np.take_along_axis(best, order, 1)


def median_of(call: Callable[[int], object], rounds: int) -> float:
    """Seconds."""
    taken = []
    for turn in range(rounds):
        start = time.perf_counter()
        call(turn)
        taken.append(time.perf_counter() - start)
    return statistics.median(taken)


def line(items: Floats, kind: Kind, rounds: int) -> str:
    """One row of the table."""
    sample, queries = users(items, 200), users(items, 400)[200:]
    many = max(rounds, 50 if len(items) <= 100_000 else 5)
    built: list[Index] = []
    build = median_of(lambda _: built.append(Index.build(items, kind, sample)), rounds)
    index = built.pop()
    built.clear()
    rng = np.random.default_rng(2)
    half, few = rng.random(len(items)) < 0.5, rng.random(len(items)) < 0.01
    with tempfile.TemporaryDirectory() as folder:
        index.save(Path(folder))
        size = sum(path.stat().st_size for path in Path(folder).iterdir())
        load = median_of(lambda _: Index.load(Path(folder)), max(rounds, 20))

    def per_query(batch: int, search: Callable[[Floats], object]) -> float:
        def one(turn: int) -> object:
            start = turn * batch % (len(queries) - batch)
            return search(queries[start : start + batch])

        return median_of(one, many) / batch * 1e6

    ours = [per_query(batch, lambda q: index.search(q, 10)) for batch in (1, 16)]
    numpys = [per_query(batch, lambda q: by_numpy(items, q, 10)) for batch in (1, 16)]
    masked = [per_query(1, partial(index.search, k=10, allowed=mask)) for mask in (half, few)]
    found = index.search(queries, 10)[1]
    true = np.concatenate([by_numpy(items, queries[n : n + 10], 10) for n in range(0, len(queries), 10)])
    recall = np.mean([len({*f} & {*t}) / 10 for f, t in zip(found.tolist(), true.tolist(), strict=True)])
    kept = np.arange(1, len(items))
    upsert = median_of(lambda turn: index.changed(kept, items[turn : turn + 1]), rounds)
    cells = [
        f"{len(items):,}",
        kind,
        f"{build:.2f}",
        f"{size / 1e6:.1f}",
        f"{load * 1e3:.2f}",
        *(f"{us:.0f}" for us in ours),
        *(f"{us / other:.2f}" for us, other in zip(ours, numpys, strict=True)),
        f"{recall:.3f}",
        f"{index.recall:.3f}",
        *(f"{us:.0f}" for us in masked),
        f"{upsert * 1e3:.2f}",
    ]
    return f"| {' | '.join(cells)} |"


def main() -> None:
    """Print the table; 1,000,000 rows only when asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", type=int, nargs="+", default=[1000, 10_000, 100_000])
    parser.add_argument("--kinds", nargs="+", default=["flat", "ivf", "hnsw"])
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    print(f"faiss {faiss.__version__}, {faiss.omp_get_max_threads()} thread(s), {options.rounds} rounds\n")
    print(f"| {' | '.join(HEAD)} |\n|{'---:|' * len(HEAD)}")
    for size in options.sizes:
        items = catalogue(size)
        for kind in options.kinds:
            print(line(items, kind, options.rounds), flush=True)


if __name__ == "__main__":
    main()
