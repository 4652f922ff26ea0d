"""What filters and limits cost beside a query without them, and columns of attributes in a build.

python -m tests.benchmarks.filters [--size 100000] [--rounds 50]

The vectors of tests.benchmarks.index; ten attributes an item, of which `price` chooses what is allowed.
Prints a Markdown table of medians, microseconds a query of one user, then the columns' share of a build.
"""

import argparse
import json
import tempfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np

from app.serving.attributes import AtMost, Attributes
from app.serving.columns import ATTRIBUTES, columns_of, joined, write_columns
from app.serving.filters import Condition, canonical
from app.serving.index import Index, Kind
from app.serving.rank import Query, _allowed, _limited
from app.serving.release import Bundle
from tests.benchmarks.index import Floats, catalogue, median_of, users

KINDS: tuple[Kind, ...] = ("flat", "ivf")
SHARES = 0.5, 0.05, 0.001
NOWHERE = Path()


def attributes_of(size: int) -> list[dict[str, Any]]:
    """A price as a CSV has it, a brand, tags, a text of its own and six of few values."""
    rng = np.random.default_rng(3)
    prices, brands = rng.random(size).round(6).tolist(), rng.zipf(1.5, size).clip(max=5000).tolist()
    return [
        {"price": str(price), "brand": f"b{brand}", "tags": [f"t{n % 7}", f"u{n % 11}"], "link": f"/item/{n}"}
        | {f"few{k}": f"v{n % (k + 2)}" for k in range(6)}
        for n, (price, brand) in enumerate(zip(prices, brands, strict=True))
    ]


def filter_of(share: float) -> str:
    """Allows this share of the items."""
    return canonical({"price": Condition.model_validate({"lt": share})})


def query_us(bundle: Bundle, queries: Floats, filter_: str = "", at_most: AtMost = ()) -> float:
    """A search as the model's process does it, once the mask is there."""
    query = Query(NOWHERE, [], 10, set(), filter_, at_most)

    def once(turn: int) -> object:
        user = queries[turn : turn + 1]
        if at_most:
            return _limited(bundle, user, query)
        return bundle.index.search(user, 10, _allowed(bundle, query))

    return median_of(once, len(queries)) * 1e6


def table(attributes: Attributes, size: int, rounds: int) -> list[str]:
    """Lines of Markdown."""
    items = catalogue(size)
    queries, sample = users(items, rounds), users(items, 200)
    bundles = [
        cast(Bundle, SimpleNamespace(attributes=attributes, index=Index.build(items, kind, sample)))
        for kind in KINDS
    ]
    lines = [f"| query | first mask | {' | '.join(KINDS)} |", "|---|---:|---:|---:|"]
    cases: list[tuple[str, str, AtMost]] = [("without", "", ())]
    cases += [(f"{share:.1%} allowed", filter_of(share), ()) for share in SHARES]
    cases += [("at_most 2 a brand", "", (("brand", 2),))]
    cases += [("5.0% allowed, at_most 2 a brand", filter_of(0.05), (("brand", 2),))]
    for name, filter_, at_most in cases:
        conditions = json.loads(filter_ or "{}")
        first = median_of(lambda _, c=conditions: attributes._evaluate(c), rounds) * 1e6  # type: ignore[misc]
        found = [query_us(bundle, queries, filter_, at_most) for bundle in bundles]
        shown = f"{first:.0f}" if filter_ else "-"
        lines.append(f"| {name} | {shown} | {' | '.join(f'{us:.0f}' for us in found)} |")
    return lines


def main() -> None:
    """Print the table and the columns' share of a build."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=50)
    options = parser.parse_args()
    size, items = options.size, attributes_of(options.size)
    kept = np.arange(1, size)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        whole = median_of(lambda _: write_columns(folder, size, columns_of(items), True), 3)
        opening = median_of(lambda _: Attributes(folder), 20)
        megabytes = (folder / ATTRIBUTES).stat().st_size / 1e6
        attributes = Attributes(folder)
        (later := folder / "later").mkdir()

        def change(_: int) -> None:
            columns = joined(attributes.columns, kept, size, columns_of(items[:1], len(kept)))
            write_columns(later, size, columns, True)

        changed = median_of(change, 5)
        print(f"{size:,} items, one thread\n")
        print("\n".join(table(attributes, size, options.rounds)))
    print(
        f"\nColumns: {megabytes:.1f} MB; written whole in {whole:.2f} s, after one item changed in", end=" "
    )
    print(f"{changed * 1e3:.0f} ms; opened in {opening * 1e6:.0f} us.")


if __name__ == "__main__":
    main()
