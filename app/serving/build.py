"""Builds a channel's bundle from the database, aside from the one that answers."""

import hashlib
import logging
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from app.core.errors import Invalid, Unavailable
from app.model import adapters
from app.model.backbone import Backbone, Backbones
from app.model.checkpoint import adapter_from_bytes
from app.model.encode import Progress, device_of, encode_items, popularity_bias
from app.model.inputs import Contents, distinct_contents
from app.model.snapshot import DIGEST_BYTES, content_digest, snapshot_from_bytes, snapshot_to_bytes
from app.model.transrec import TransRec
from app.serving.index import FlatIndex
from app.serving.release import ZERO_SHOT, Bundle, digest_of, validate
from app.store import catalog, events, images, registry, releases, vectors
from app.store.catalog import ItemRow
from app.store.channels import channel_by_id
from app.store.db import Database
from app.store.tables import Adapter, Channel

log = logging.getLogger(__name__)
ENCODE_CHUNK = {"text": 4096, "image": 64}  # contents in memory at once: an image may have megabytes


@dataclass(frozen=True)
class Source:
    """What the database holds for one channel; items of an image channel without an image are left out."""

    channel: Channel
    adapter: Adapter | None  # None: the bare backbone
    items: tuple[ItemRow, ...]
    names: tuple[bytes, ...]  # the content digest of each item
    popularity: dict[str, int]
    snapshot: bytes | None

    @property
    def sha256(self) -> str:
        """The adapter's, "" for the bare backbone."""
        return self.adapter.sha256 if self.adapter else ""


def build(
    db: Database,
    backbones: Backbones,
    channel_id: str,
    previous: Bundle | None = None,
    progress: Progress | None = None,
) -> Bundle:
    """Read, check, encode what no one has encoded yet, and return the bundle.

    Raises `NotFound` (channel gone), `Invalid` (the adapter does not fit) and `Unavailable`.
    """
    source = read_source(db, channel_id, backbones)
    backbone = backbones.get(source.channel.modality)
    same = previous is not None and previous.adapter_sha256 == source.sha256
    model = previous.model if previous and same else _model(backbone, source.adapter)
    names = distinct_contents(source.names)
    known = _known(source, previous if same else None)
    encoded, new = _vectors(db, backbone, model, source, names, known, progress)
    bundle = _assemble(backbone, source, model, names, encoded)
    validate(bundle)
    if new:
        _keep(db, bundle, encoded)
    return bundle


def read_source(db: Database, channel_id: str, backbones: Backbones) -> Source:
    """Read everything in one transaction; raises `NotFound` when the channel is gone."""
    with db.read() as s:
        # The generation comes first: what changes while the rest is read raises it above the one
        # that the bundle will carry, so the next look builds again.
        channel = channel_by_id(s, channel_id)
        fingerprint = backbones.get(channel.modality).fingerprint
        version = releases.champion(s, channel_id).version
        adapter = registry.get_adapter(s, channel_id, version, with_weights=True) if version else None
        items = catalog.load_items(s, channel_id)
        if channel.modality == "image":
            refs = images.image_refs(s, channel_id)
            items = [item for item in items if item.item_id in refs]
            names = tuple(bytes.fromhex(refs[item.item_id])[:DIGEST_BYTES] for item in items)
        else:
            names = tuple(content_digest(item.text) for item in items)
        return Source(
            channel,
            adapter,
            tuple(items),
            names,
            events.popularity(s, channel_id),
            vectors.load_vectors(s, channel_id, adapter.sha256 if adapter else "", fingerprint),
        )


def _model(backbone: Backbone, adapter: Adapter | None) -> TransRec:
    if adapter is None:
        return backbone.model
    if hashlib.sha256(adapter.weights).hexdigest() != adapter.sha256:
        raise Invalid(f"The weights of version {adapter.version} are damaged. Promote another version.")
    weights, config, fingerprint = adapter_from_bytes(adapter.weights)
    if fingerprint != backbone.fingerprint:
        raise Invalid(
            f"Version {adapter.version} was trained on another backbone ({fingerprint[:12]}). "
            "Train it again on this one, or promote another version."
        )
    return adapters.load(backbone.model, config, weights)


def _known(source: Source, previous: Bundle | None) -> dict[bytes, NDArray[np.float32]]:
    """Vectors by content digest of this very adapter: the stored ones, then those in memory."""
    known: dict[bytes, NDArray[np.float32]] = {}
    if source.snapshot is not None:
        try:
            known |= snapshot_from_bytes(source.snapshot)
        except Invalid as error:
            log.warning("channel %s: %s", source.channel.id, error)
    if previous is not None:
        known |= dict(zip(previous.names, previous.vectors.cpu().numpy(), strict=True))
    return known


def _vectors(
    db: Database,
    backbone: Backbone,
    model: TransRec,
    source: Source,
    names: Contents[bytes],
    known: dict[bytes, NDArray[np.float32]],
    progress: Progress | None,
) -> tuple[NDArray[np.float32], int]:
    """Content digests (U) -> vectors (U, d), and how many had to be encoded."""
    out = np.empty((len(names.distinct), model.config.dim), dtype=np.float32)
    missing: list[int] = []
    for row, name in enumerate(names.distinct):
        vector = known.get(name)
        if vector is not None and vector.shape == out[row].shape:
            out[row] = vector
        else:
            missing.append(row)
    item_of = np.unique(names.of_item, return_index=True)[1]  # (U,) one item that has this content
    size = ENCODE_CHUNK[source.channel.modality]
    for start in range(0, len(missing), size):

        def note(done: int, _: int, before: int = start) -> None:
            if progress:
                progress(before + done, len(missing))

        chunk = missing[start : start + size]
        contents = _contents(db, source, [int(item_of[row]) for row in chunk])
        out[chunk] = encode_items(model, backbone.inputs(contents), note)
    return out, len(missing)


def _contents(db: Database, source: Source, rows: Sequence[int]) -> list[str] | list[bytes]:
    """What the items in these rows are made of; raises `Unavailable` if it is not what was read before."""
    items = [source.items[row] for row in rows]
    if source.channel.modality == "text":
        return [item.text for item in items]
    with db.read() as s:
        found = images.load_images(s, source.channel.id, [item.item_id for item in items])
    contents = [found.get(item.item_id, b"") for item in items]
    # Read in a later transaction than their names: an image that was replaced in between must not be kept
    # under the old one's name, which other items may share.
    if any(content_digest(c) != source.names[row] for c, row in zip(contents, rows, strict=True)):
        raise Unavailable("Images were changed while the release was built; it is built again.")
    return contents


def _assemble(
    backbone: Backbone,
    source: Source,
    model: TransRec,
    names: Contents[bytes],
    encoded: NDArray[np.float32],
) -> Bundle:
    items = source.items
    counts = np.array([source.popularity.get(item.item_id, 0) for item in items], dtype=np.int64)
    # score = user . item + bias, as one inner product: the bias is one more coordinate of each item.
    indexed = np.column_stack([encoded[names.of_item], popularity_bias(model, counts)])
    return Bundle(
        channel_id=source.channel.id,
        channel=source.channel.name,
        version=source.adapter.version if source.adapter else 0,
        method=source.adapter.method if source.adapter else ZERO_SHOT,
        adapter_sha256=source.sha256,
        fingerprint=backbone.fingerprint,
        generation=source.channel.generation,
        model=model,
        items=items,
        row_of={item.item_id: row for row, item in enumerate(items)},
        names=tuple(names.distinct),
        vectors=torch.from_numpy(encoded).to(device_of(model)),
        of_item=names.of_item,
        norms=np.linalg.norm(encoded, axis=1),
        index=FlatIndex(indexed),
        counts=counts,
        popular=np.argsort(-counts, kind="stable"),
        digest=digest_of(source.sha256, backbone.fingerprint, items, indexed),
    )


def _keep(db: Database, bundle: Bundle, encoded: NDArray[np.float32]) -> None:
    """Store the vectors for the next process; without them it merely encodes again."""
    data = snapshot_to_bytes(bundle.names, encoded)
    try:
        with db.session() as s:
            if s.get(Channel, bundle.channel_id) is not None:
                vectors.save_vectors(s, bundle.channel_id, bundle.adapter_sha256, bundle.fingerprint, data)
    except Unavailable as error:
        log.warning("channel %s: the vectors were not stored: %s", bundle.channel_id, error)
