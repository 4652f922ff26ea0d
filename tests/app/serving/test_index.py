"""The index: what it finds, keeps, changes and refuses."""

import json
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import pytest
from numpy.typing import NDArray

from app.core.errors import Invalid
from app.serving import ann, index
from app.serving.index import Index, Kind

Floats = NDArray[np.float32]
KINDS: list[Kind] = ["flat", "ivf", "hnsw"]
SIZE, DIM = 5000, 17
PARTS = {"flat": ["vectors.npy", "index.json"], "ivf": ["vectors.npy", "approximate.faiss", "index.json"]}
PARTS["hnsw"] = PARTS["ivf"]


def made_of(size: int, seed: int = 0) -> Floats:
    """Vectors (size, DIM) in 50 loose clusters; the last coordinate is the bias of a few popular ones."""
    rng = np.random.default_rng(seed)
    centres = np.random.default_rng(7).normal(size=(50, DIM - 1))
    content = centres[rng.integers(50, size=size)] + rng.normal(size=(size, DIM - 1))
    return np.column_stack([content, np.log1p(rng.zipf(1.6, size) % 10_000)]).astype(np.float32)


def asked(count: int, seed: int = 1) -> Floats:
    queries = made_of(count, seed)
    queries[:, -1] = 1
    return queries


def by_hand(vectors: Floats, queries: Floats, k: int) -> tuple[Floats, NDArray[np.int64]]:
    scores = queries @ vectors.T
    rows = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    return np.take_along_axis(scores, rows, 1), rows


def recall_of(built: Index, queries: Floats) -> float:
    """The share of the ten best that it finds, by rows."""
    true, found = by_hand(built.vectors, queries, 10)[1], built.search(queries, 10)[1]
    return float(np.mean([len({*t} & {*f}) / 10 for t, f in zip(true, found, strict=True)]))


@pytest.fixture(scope="module", autouse=True)
def walked() -> Iterator[None]:
    """So few rows are searched exactly sooner than a graph is walked: let it seem cheap."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ann, "ROWS_A_STEP", 10)
        yield


@pytest.fixture(scope="module")
def built() -> dict[Kind, Index]:
    return {kind: Index.build(made_of(SIZE), kind) for kind in KINDS}


@pytest.mark.parametrize("k", [1, 10, 700])
def test_flat_is_the_matrix_product(built: dict[Kind, Index], k: int) -> None:
    for count in (1, 40):  # faiss multiplies matrices from 20 queries on
        scores, rows = built["flat"].search(asked(count), k)
        true_scores, true_rows = by_hand(made_of(SIZE), asked(count), k)
        np.testing.assert_allclose(scores, true_scores, rtol=1e-5, atol=1e-5)
        assert (rows == true_rows).mean() > 0.999  # rounding may swap neighbours
        assert [scores.dtype.name, rows.dtype.name] == ["float32", "int64"]


@pytest.mark.parametrize("kind", KINDS)
def test_finds_the_best_and_their_scores(built: dict[Kind, Index], kind: Kind) -> None:
    queries = asked(200)
    scores, rows = built[kind].search(queries, 10)
    assert recall_of(built[kind], queries) >= 0.93
    np.testing.assert_allclose(scores, np.einsum("bkd,bd->bk", made_of(SIZE)[rows], queries), atol=1e-4)
    assert (np.diff(scores, axis=1) <= 1e-5).all()


@pytest.mark.parametrize("kind", KINDS)
def test_approximate_kinds_approximate(kind: Kind, monkeypatch: pytest.MonkeyPatch) -> None:
    # With the least effort kept, recall is below 1: so `search` is not secretly exact.
    monkeypatch.setattr(index, "RECALL_LEAST", 0.0)
    lazy = Index.build(made_of(20_000), kind)
    assert (recall_of(lazy, asked(200)) < 0.99) == (kind != "flat")


@pytest.mark.parametrize("kind", KINDS)
def test_the_reported_recall_is_the_measured_one(built: dict[Kind, Index], kind: Kind) -> None:
    queries = asked(300, 5)
    measured = Index.build(made_of(SIZE), kind, queries)
    assert measured.recall == pytest.approx(recall_of(measured, queries), abs=0.002)
    assert measured.recall >= 0.95
    assert (measured.recall == 1) == (kind == "flat") or measured.recall > 0.999
    assert built[kind].recall >= 0.95


def test_recall_is_measured_as_users_ask(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Floats] = []
    monkeypatch.setattr(Index, "_tune", lambda _, queries: seen.append(queries))
    vectors = made_of(3000)
    Index.build(vectors, "ivf")
    Index.build(vectors, "ivf", asked(0))
    Index.build(vectors, "ivf", asked(7))
    for queries in seen[:2]:
        assert (queries[:, -1] == 1).all()
        assert {row.tobytes() for row in queries[:, :-1]} <= {row.tobytes() for row in vectors[:, :-1]}
    np.testing.assert_array_equal(seen[2], asked(7))
    Index.build(vectors[:9], "ivf").changed(np.arange(9), vectors, asked(8))  # outgrown
    np.testing.assert_array_equal(seen[-1], asked(8))


def test_popular_items_are_found(built: dict[Kind, Index]) -> None:
    """Cells by angle and graphs by inner product lose them."""
    vectors = made_of(SIZE)
    vectors[:, -1] *= 3
    queries = asked(200)
    for kind in ("ivf", "hnsw"):
        found = Index.build(vectors, kind, queries)
        assert recall_of(found, queries) >= 0.94
        effort = found._effort
        assert effort <= (16 if kind == "ivf" else 64), (kind, effort)


@pytest.mark.parametrize("kind", KINDS)
def test_equal_vectors(kind: Kind) -> None:
    vectors = np.repeat(made_of(100), 30, axis=0)
    twins = Index.build(vectors, kind)
    scores, rows = twins.search(asked(50), 45)
    assert all(len({*row}) == 45 for row in rows.tolist())
    right = np.abs(scores - by_hand(vectors, asked(50), 45)[0]) < 1e-4
    assert right.mean() >= (1 if kind == "flat" else 0.85)
    same = Index.build(np.ones((3000, DIM), np.float32), kind)
    assert len({*same.search(asked(1), 50)[1][0].tolist()}) == 50


def masks() -> dict[str, NDArray[np.bool_]]:
    rng = np.random.default_rng(3)
    some = {str(n): np.isin(np.arange(SIZE), rng.choice(SIZE, n, replace=False)) for n in (0, 1, 9, 10, 50)}
    best = np.ones(SIZE, bool)
    best[np.unique(by_hand(made_of(SIZE), asked(20), 300)[1])] = False  # what the queries look for is gone
    last = np.zeros(SIZE, bool)
    last[-SIZE // 3 :] = True
    return some | {
        "half": rng.random(SIZE) < 0.5,
        "most": rng.random(SIZE) < 0.97,
        "best gone": best,
        "last": last,
        "all": np.ones(SIZE, bool),
    }


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", masks())
def test_always_filled(built: dict[Kind, Index], kind: Kind, name: str) -> None:
    mask = masks()[name]
    for k in (1, 10, 400, SIZE + 5):
        scores, rows = built[kind].search(asked(20), k, mask)
        full = min(k, int(mask.sum()))
        assert scores.shape == rows.shape == (20, full)
        assert all(len({*row}) == full and mask[row].all() for row in rows.tolist())
        if full:
            true = by_hand(made_of(SIZE)[mask], asked(20), full)[0]
            assert (scores >= true[:, -1:] - 1e-4).mean() >= (0.999 if kind == "flat" else 0.85)
            np.testing.assert_allclose(scores[:, 0].mean(), true[:, 0].mean(), rtol=0.03)


def test_filled_when_every_visited_cell_is_filtered(built: dict[Kind, Index]) -> None:
    cells = built["ivf"]._approximate
    assert isinstance(cells, ann.Cells)
    query = asked(1)
    visited = cells.index.quantizer.search(query, built["ivf"]._effort)[1]
    mask = ~np.isin(cells._cell_of(), visited)
    assert mask.sum() > SIZE / 2
    rows = cells.search(query, 10, built["ivf"]._effort, mask)[1]
    assert (rows == -1).all()  # by itself it finds nothing
    rows = built["ivf"].search(query, 10, mask)[1]
    assert len({*rows[0].tolist()}) == 10
    assert mask[rows].all()


@pytest.mark.parametrize("kind", KINDS)
def test_filled_when_the_approximate_search_is_short(
    built: dict[Kind, Index], kind: Kind, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever it leaves out: here every second query comes back empty but for one row."""

    def short(self: ann.Approximate, queries: Floats, k: int, *_: object) -> ann.Found:
        scores, rows = by_hand(made_of(SIZE), queries, k)
        scores[::2, 1:], rows[::2, 1:] = -np.inf, -1
        return scores, rows

    for one in (ann.Cells, ann.Graph):
        monkeypatch.setattr(one, "search", short)
    np.testing.assert_array_equal(
        built[kind].search(asked(9), 10)[1], by_hand(made_of(SIZE), asked(9), 10)[1]
    )


def test_a_graph_with_dead_points(monkeypatch: pytest.MonkeyPatch) -> None:
    """By itself, without the exact search that would hide what it loses."""
    rng = np.random.default_rng(4)
    graph, true = ann.Graph.build(made_of(SIZE)), made_of(SIZE)
    for turn in range(6):
        kept = rng.permutation(len(true))[:-300]
        true = np.concatenate([true[kept], made_of(100, turn + 50)])
        then = graph.changed(kept, true)
        assert then is not None
        graph = then
        scores, rows = graph.search(asked(100), 10, 300, None)
        best = by_hand(true, asked(100), 10)
        assert (rows == best[1]).mean() > 0.95
        np.testing.assert_allclose(scores, np.einsum("bkd,bd->bk", true[rows], asked(100)), atol=1e-4)
        assert (np.diff(scores, axis=1) <= 0).all()
    efforts: list[int] = []
    parameters = faiss.SearchParametersHNSW

    def noting(**given: Any) -> Any:
        efforts.append(given["efSearch"])
        return parameters(**given)

    monkeypatch.setattr(faiss, "SearchParametersHNSW", noting)
    graph.search(asked(1), 10, 100, None)
    assert efforts == [-(-100 * (SIZE + 600) // len(true))]
    assert (graph.search(np.full((1, DIM), np.nan, np.float32), 5, 50, None)[1] == -1).all()


@pytest.mark.parametrize("kind", ["ivf", "hnsw"])
def test_exact_where_that_is_no_slower(
    built: dict[Kind, Index], kind: Kind, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*_: object) -> None:
        raise AssertionError("the approximate index was asked")

    for one in (ann.Cells, ann.Graph):
        monkeypatch.setattr(one, "search", never)
    few = np.arange(SIZE) % 100 == 0
    for k, mask in ((10, few), (SIZE // 4, None)):
        expected = built["flat"].search(asked(5), k, mask)[1]
        np.testing.assert_array_equal(built[kind].search(asked(5), k, mask)[1], expected)
    with pytest.raises(AssertionError, match="was asked"):
        built[kind].search(asked(5), 10)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("mapped", [False, True])
def test_changed(kind: Kind, mapped: bool, tmp_path: Path) -> None:
    rng = np.random.default_rng(11)
    now = Index.build(made_of(SIZE), kind)
    true = made_of(SIZE)
    for turn in range(20):
        if mapped and turn % 5 == 0:
            now.save(tmp_path)
            now = Index.load(tmp_path)
        before = now.search(asked(30), 10)
        kept = rng.permutation(len(true))[: -int(rng.integers(1, 200))]
        added = made_of(int(rng.integers(0, 300)), turn + 20)
        then, true = now.changed(kept, added), np.concatenate([true[kept], added])
        np.testing.assert_array_equal(then.vectors, true)
        assert (then.size, then.kind) == (len(true), kind)
        for old, again in zip(before, now.search(asked(30), 10), strict=True):
            np.testing.assert_array_equal(old, again)
        now = then
        scores, rows = now.search(asked(100), 10)
        np.testing.assert_allclose(scores, np.einsum("bkd,bd->bk", true[rows], asked(100)), atol=1e-4)
        assert recall_of(now, asked(100)) >= (0.999 if kind == "flat" else 0.9)
    fresh = Index.build(true, "flat")
    if kind == "flat":
        np.testing.assert_array_equal(now.search(asked(50), 10)[1], fresh.search(asked(50), 10)[1])
    assert now.changed(np.empty(0, np.int64), np.empty((0, DIM), np.float32)).size == 0


def counted(build: Callable[[Floats], ann.Approximate], sizes: list[int]) -> Callable[[Floats], object]:
    def noting(vectors: Floats) -> ann.Approximate:
        sizes.append(len(vectors))
        return build(vectors)

    return noting


@pytest.mark.parametrize("kind", ["ivf", "hnsw"])
def test_changed_trains_nothing_until_outgrown(kind: Kind, monkeypatch: pytest.MonkeyPatch) -> None:
    small = Index.build(made_of(1000), kind)
    builds: list[int] = []
    for one in (ann.Cells, ann.Graph):
        monkeypatch.setattr(one, "build", counted(one.build, builds))
    every = np.arange(1000)
    assert small.changed(every[10:], made_of(20, 2)).recall == small.recall
    assert builds == []
    if kind == "ivf":
        small.changed(every, made_of(2500, 2))
        assert builds == []
        assert small.changed(every, made_of(4000, 2)).size == 5000
        assert builds == [5000]
    else:
        small.changed(every[300:], made_of(0))
        assert builds == []
        assert small.changed(every[500:], made_of(100, 2)).size == 600
        assert builds == [600]


def test_auto(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(index, "FLAT_MOST", 2000)
    some = Index.build(made_of(2000))
    assert some.kind == "flat"
    more = some.changed(np.arange(2000), made_of(1, 2))
    assert (more.kind, more.size) == ("ivf", 2001)
    assert more.changed(np.arange(500), made_of(0)).kind == "ivf"  # not back and forth
    assert Index.build(made_of(2001), "flat").changed(np.arange(2001), made_of(1)).kind == "flat"
    empty = Index.build(made_of(0))
    assert empty.changed(np.empty(0, np.int64), made_of(2001)).kind == "ivf"


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("size", [0, 1, 3])
def test_small(kind: Kind, size: int, tmp_path: Path) -> None:
    small = Index.build(made_of(size), kind)
    small.save(tmp_path)
    for one in (small, Index.load(tmp_path), small.changed(np.arange(size), made_of(0))):
        scores, rows = one.search(asked(2), 10)
        assert scores.shape == rows.shape == (2, size)
        assert {*rows.ravel().tolist()} == {*range(size)}
        assert one.search(asked(2), 0)[1].shape == (2, 0)
        assert one.search(asked(0), 5)[1].shape == (0, min(5, size))
    grown = small.changed(np.arange(size), made_of(2, 3))
    assert (grown.size, grown.kind) == (size + 2, kind)


def maps_of(path: Path) -> list[str]:
    return [line for line in Path("/proc/self/maps").read_text().splitlines() if line.endswith(str(path))]


@pytest.mark.parametrize("kind", KINDS)
def test_saved_and_mapped(built: dict[Kind, Index], kind: Kind, tmp_path: Path) -> None:
    built[kind].save(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {*PARTS[kind]}
    loaded = Index.load(tmp_path)
    assert (loaded.kind, loaded.recall, loaded.size, loaded.dim) == (kind, built[kind].recall, SIZE, DIM)
    for was, now in zip(built[kind].search(asked(50), 10), loaded.search(asked(50), 10), strict=True):
        np.testing.assert_array_equal(was, now)
    for name in PARTS[kind][:-1]:
        assert all(line.split()[1] in ("r--s", "r--p") for line in maps_of(tmp_path / name))
        assert maps_of(tmp_path / name), f"{name} was read, not mapped"


@pytest.mark.parametrize("kind", KINDS)
def test_vectors_are_a_view_that_cannot_be_written(kind: Kind, tmp_path: Path) -> None:
    source = made_of(SIZE)
    one = Index.build(source, kind)
    source[:] = 0  # the index has its own
    one.save(tmp_path)
    for vectors in (one.vectors, Index.load(tmp_path).vectors, one.changed(np.arange(9), made_of(1)).vectors):
        assert vectors.flags.aligned
        with pytest.raises(ValueError, match="read-only"):
            vectors[0, 0] = 1
    view = Index.load(tmp_path).vectors  # outlives its index
    np.testing.assert_array_equal(view, made_of(SIZE))


@pytest.mark.parametrize("kind", KINDS)
def test_saved_over_the_files_that_are_mapped(kind: Kind, tmp_path: Path) -> None:
    Index.build(made_of(SIZE), kind).save(tmp_path)
    old = Index.load(tmp_path)
    before = old.search(asked(30), 10)[0]
    Index.build(made_of(700, 9), kind).save(tmp_path)
    np.testing.assert_array_equal(old.search(asked(30), 10)[0], before)
    assert Index.load(tmp_path).size == 700


def test_half_saved_is_not_saved(
    built: dict[Kind, Index], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError("No space left on device")

    built["ivf"].save(tmp_path)
    monkeypatch.setattr(faiss, "write_index", full)
    with pytest.raises(OSError, match="No space"):
        Index.build(made_of(SIZE, 9), "ivf").save(tmp_path)
    with pytest.raises(Invalid, match=r"index\.json"):
        Index.load(tmp_path)


DAMAGE: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda _: b"",
    "a byte": lambda data: data[:1],
    "half": lambda data: data[: len(data) // 2],
    "truncated": lambda data: data[:-7],
    "garbage": lambda data: np.random.default_rng(0).bytes(len(data)),
    "zeros": lambda data: bytes(len(data)),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("damage", DAMAGE)
def test_damaged_files_are_refused(built: dict[Kind, Index], kind: Kind, damage: str, tmp_path: Path) -> None:
    for name in PARTS[kind]:
        built[kind].save(tmp_path)
        good = (tmp_path / name).read_bytes()
        (tmp_path / name).write_bytes(DAMAGE[damage](good))
        with pytest.raises(Invalid, match="Build it again"):
            Index.load(tmp_path)
        (tmp_path / name).unlink()
        with pytest.raises(Invalid, match="Build it again"):
            Index.load(tmp_path)


def test_files_that_do_not_belong_together_are_refused(built: dict[Kind, Index], tmp_path: Path) -> None:
    built["ivf"].save(tmp_path)
    cells = (tmp_path / "approximate.faiss").read_bytes()
    built["hnsw"].save(tmp_path)
    graph = (tmp_path / "approximate.faiss").read_bytes()
    said = json.loads((tmp_path / "index.json").read_text())

    def refused() -> None:
        with pytest.raises(Invalid):
            Index.load(tmp_path)

    def put(data: bytes) -> None:
        (tmp_path / "approximate.faiss").write_bytes(data)
        refused()  # by its size
        made = json.loads((tmp_path / "index.json").read_text())
        made["sizes"]["approximate.faiss"] = len(data)
        (tmp_path / "index.json").write_text(json.dumps(made))
        refused()

    put(cells)
    Index.build(made_of(SIZE - 1), "hnsw").save(tmp_path)
    put(graph)
    Index.build(made_of(SIZE)[:, 1:], "hnsw").save(tmp_path)
    put(graph)
    Index.build(made_of(SIZE - 1), "ivf").save(tmp_path)
    put(cells)
    put(graph)
    for wrong in (
        {"kind": "lsh"},
        {"asked": "lsh"},
        {"effort": "x"},
        {"recall": 7},
        {"more": 1},
        {"kind": ["flat"]},
        {"effort": 0},
    ):
        built["hnsw"].save(tmp_path)
        (tmp_path / "index.json").write_text(json.dumps(said | wrong))
        refused()
    for array in (made_of(SIZE).astype(np.float64), np.asfortranarray(made_of(SIZE)), made_of(SIZE)[0]):
        built["flat"].save(tmp_path)
        np.save(tmp_path / "vectors.npy", array)
        refused()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_not_finite(built: dict[Kind, Index], kind: Kind, value: float) -> None:
    vectors, queries = made_of(20), asked(2)
    vectors[3, 4] = queries[1, 2] = value
    with pytest.raises(Invalid, match="NaN or infinite"):
        Index.build(vectors, kind)
    with pytest.raises(Invalid, match="NaN or infinite"):
        built[kind].changed(np.arange(5), vectors)
    if kind != "flat":
        with pytest.raises(Invalid, match="queries hold NaN or infinite"):
            Index.build(made_of(3000), kind, queries)
    queries[1] = np.nan
    with pytest.raises(Invalid, match="finite"):
        built[kind].search(queries, 10)


@pytest.mark.parametrize("kind", KINDS)
def test_shapes_that_do_not_fit(built: dict[Kind, Index], kind: Kind) -> None:
    """The C++ beneath would read beyond the arrays."""
    with pytest.raises(ValueError, match="rows of 17"):
        built[kind].search(asked(2)[:, 1:], 3)
    with pytest.raises(ValueError, match="rows of 17"):
        built[kind].search(asked(2)[0], 3)
    with pytest.raises(ValueError, match="mask"):
        built[kind].search(asked(2), 3, np.ones(SIZE + 8, bool))
    with pytest.raises(ValueError, match="rows of 17"):
        built[kind].changed(np.arange(3), made_of(3)[:, 1:])
    wide: NDArray[Any] = np.asfortranarray(asked(2).astype(np.float64))
    np.testing.assert_array_equal(built[kind].search(wide, 9)[1], built[kind].search(asked(2), 9)[1])


@pytest.mark.parametrize("kind", KINDS)
def test_threads_share_it(built: dict[Kind, Index], kind: Kind) -> None:
    queries, rng = asked(40), np.random.default_rng(0)
    tasks = [(queries[n : n + 1], None if n % 2 else rng.random(SIZE) < 0.7) for n in range(40)]
    alone = [built[kind].search(query, 10, mask)[1] for query, mask in tasks]
    wrong: list[int] = []

    def work() -> None:
        for _ in range(20):
            for n, (query, mask) in enumerate(tasks):
                if not np.array_equal(built[kind].search(query, 10, mask)[1], alone[n]):
                    wrong.append(n)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


@pytest.mark.parametrize("kind", KINDS)
def test_a_gpu_answers_where_it_can(kind: Kind, monkeypatch: pytest.MonkeyPatch) -> None:
    """A GPU build of faiss, played by copies on the CPU that note who asks them."""
    asked_of_gpu: list[int] = []

    class Gpu:
        def __init__(self, copied: faiss.Index) -> None:
            self.copied = faiss.clone_index(copied)

        def search(self, queries: Floats, k: int, params: object = None) -> ann.Found:
            asked_of_gpu.append(k)
            found: ann.Found = self.copied.search(queries, k, params=params)
            return found

    monkeypatch.setattr(faiss, "StandardGpuResources", object, raising=False)
    monkeypatch.setattr(faiss, "get_num_gpus", lambda: 1, raising=False)
    monkeypatch.setattr(faiss, "index_cpu_to_gpu", lambda _, __, copied: Gpu(copied), raising=False)
    there = Index.build(made_of(SIZE), kind)
    asked_of_gpu.clear()
    assert recall_of(there, asked(100)) >= 0.93
    there.search(asked(2), 3000)  # too many for a GPU
    there.search(asked(2), 10, np.arange(SIZE) % 2 == 0)  # no masks on a GPU
    assert asked_of_gpu == ([] if kind == "hnsw" else [10])
