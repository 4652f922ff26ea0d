"""A release: all that answers for a channel, immutable; a folder on disk, a bundle when it is open."""

import hashlib
import json
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from app.core.errors import Invalid
from app.model.bank_slots import AdapterWeights
from app.model.checkpoint import adapter_from_bytes
from app.serving.arrays import map_arrays
from app.serving.attributes import Attributes
from app.serving.catalog import Catalog
from app.serving.folders import SIDECAR
from app.serving.index import Index

ZERO_SHOT = "zero-shot"
"""The method of version 0, the bare backbone."""

ADAPTER, POPULARITY = "adapter.safetensors", "popularity.safetensors"


@dataclass(frozen=True)
class Facts:
    """What a release's folder says of itself."""

    adapter_sha256: str  # "" for the bare backbone
    fingerprint: str
    items_revision: int
    events_revision: int
    modality: str
    items: int
    dim: int  # d of an item vector, without the popularity bias
    prior: float  # weight of the popularity bias
    index: str
    recall: float
    digest: str  # names exactly this adapter, backbone, catalogue and vectors

    def write(self, folder: Path) -> None:
        """Write them; the folder is whole then."""
        (folder / SIDECAR).write_text(json.dumps(asdict(self), indent=1) + "\n")

    @classmethod
    def read(cls, folder: Path) -> "Facts":
        """Read them; raises `Invalid` where they are damaged."""
        try:
            return cls(**json.loads((folder / SIDECAR).read_text()))
        except (OSError, ValueError, TypeError) as error:
            raise Invalid(f"The release in {folder.name} is damaged. Remove its folder.") from error


@dataclass(frozen=True)
class Release:
    """What answers for a channel now: which adapter, and where everything of it lies on disk."""

    channel_id: str
    channel: str
    modality: str
    version: int
    method: str
    generation: int
    folder: Path
    facts: Facts

    @property
    def digest(self) -> str:
        """Names exactly this adapter, backbone and catalogue."""
        return self.facts.digest

    @cached_property
    def json(self) -> bytes:
        """What an answer says of it."""
        shown = {"version": self.version, "method": self.method, "digest": self.digest}
        return json.dumps(shown, separators=(",", ":")).encode()


@dataclass(frozen=True, eq=False)
class Bundle:
    """An open release: N items by row, memory-mapped."""

    folder: Path
    facts: Facts
    catalog: Catalog
    attributes: Attributes
    index: Index  # over (N, d + 1): item vectors, then the popularity bias
    adapter: AdapterWeights  # what the user encoder needs of the adapter
    counts: NDArray[np.int64]  # (N,) interactions
    popular: NDArray[np.int32]  # (N,) rows, most interactions first
    nbytes: int  # of all files

    @property
    def needs(self) -> str:
        """What an item needs beside its row, for messages."""
        return ", with its image," if self.facts.modality == "image" else ""

    @property
    def vectors(self) -> NDArray[np.float32]:
        """(N, d) item vectors."""
        return self.index.vectors[:, :-1]


def open_bundle(folder: Path) -> Bundle:
    """Map a folder into memory; raises `Invalid` where it is damaged or its parts do not fit together."""
    facts = Facts.read(folder)
    popularity: dict[str, Any] = map_arrays(folder / POPULARITY)
    bundle = Bundle(
        folder=folder,
        facts=facts,
        catalog=Catalog(folder),
        attributes=Attributes(folder),
        index=Index.load(folder),
        adapter=_read_adapter(folder, facts.adapter_sha256),
        counts=popularity["counts"],
        popular=popularity["popular"],
        nbytes=sum(path.stat().st_size for path in folder.iterdir()),
    )
    _check(bundle)
    return bundle


def digest_of(adapter_sha256: str, fingerprint: str, catalog: Catalog, indexed: NDArray[np.float32]) -> str:
    """sha256 that names exactly this adapter, backbone, catalogue and these indexed vectors."""
    digest = hashlib.sha256(f"{adapter_sha256}\n{fingerprint}\n".encode())
    digest.update(catalog.all_json)
    digest.update(np.ascontiguousarray(indexed).data)
    return digest.hexdigest()


def _read_adapter(folder: Path, sha256: str) -> AdapterWeights:
    path = folder / ADAPTER
    if not path.exists():
        return AdapterWeights("", None, {})
    weights, config, _ = adapter_from_bytes(path.read_bytes())
    return AdapterWeights(sha256, config, weights)


def _check(bundle: Bundle) -> None:
    n = bundle.facts.items
    sizes = {bundle.catalog.size, bundle.index.size, len(bundle.counts), len(bundle.popular)}
    sizes.add(bundle.attributes.size)
    if sizes != {n} or bundle.index.dim != bundle.facts.dim + 1:
        raise Invalid(f"The release has {n} items, but its parts have {sorted(sizes)}. Remove its folder.")
