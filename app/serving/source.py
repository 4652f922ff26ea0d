"""What a release is built from: the rows of the database, as far as they are not on disk already."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sqlalchemy.orm import Session

from app.core.errors import Unavailable
from app.model.snapshot import DIGEST_BYTES, content_digest
from app.serving.catalog import Catalog, Entry
from app.serving.release import ZERO_SHOT
from app.store import catalog, events, images, registry, releases, rollouts
from app.store.channels import channel_by_id
from app.store.db import Database
from app.store.tables import Channel

FORMAT = 2  # of a release's folder; another one makes every release anew


@dataclass(frozen=True)
class Target:
    """The release that an alias of a channel asks for, by what it is made of."""

    channel_id: str
    channel: str
    modality: str
    generation: int
    items_revision: int
    events_revision: int
    version: int
    method: str
    adapter_sha256: str  # "" for the bare backbone

    def key(self, fingerprint: str, index: str) -> str:
        """The name of its folder: the same parts, the same name, in every process."""
        revisions = f"{self.items_revision} {self.events_revision}"
        parts = f"{FORMAT} {self.adapter_sha256} {fingerprint} {index} {revisions}"
        return hashlib.sha256(parts.encode()).hexdigest()[:24]


@dataclass(frozen=True)
class Changes:
    """How a catalogue becomes the target's: rows that stay, in order, and what is added behind them."""

    kept: NDArray[np.int64]
    added: tuple[Entry, ...]


@dataclass(frozen=True)
class Trial:
    """The release that a channel's challenger asks for, and how it is tried."""

    target: Target
    share: float
    shadow: bool


def read_target(db: Database, channel_id: str) -> Target:
    """What the channel's champion is now; raises `NotFound` when the channel is gone."""
    return read_targets(db, channel_id)[0]


def read_targets(db: Database, channel_id: str) -> tuple[Target, Trial | None]:
    """What the channel's champion and its challenger are now; raises `NotFound` when the channel is gone."""
    with db.read() as s:
        # The revisions come first: what changes while the rest is read raises them above those that the
        # release will carry, so the next look builds again.
        channel = channel_by_id(s, channel_id)
        champion = _target(s, channel, releases.champion(s, channel_id).version)
        found = rollouts.challenger(s, channel_id)
        if found is None:
            return champion, None
        challenger = _target(s, channel, found.release.version)
        return champion, Trial(challenger, found.rollout.share, found.rollout.shadow)


def _target(s: Session, channel: Channel, version: int) -> Target:
    adapter = registry.get_adapter(s, channel.id, version) if version else None
    return Target(
        channel.id,
        channel.name,
        channel.modality,
        channel.generation,
        channel.items_revision,
        channel.events_revision,
        version,
        adapter.method if adapter else ZERO_SHOT,
        adapter.sha256 if adapter else "",
    )


def read_changes(db: Database, target: Target, before: Catalog | None, revision: int) -> Changes:
    """What differs from the catalogue `before`, which is of that revision; everything, without one."""
    if before is not None and revision == target.items_revision:
        return Changes(np.arange(before.size), ())
    with db.read() as s:
        changed = catalog.changes_since(s, target.channel_id, -1 if before is None else revision)
        entries = _entries(s, target, changed.items)
    if before is None:
        return Changes(np.empty(0, np.int64), entries)
    gone = before.rows([*changed.deleted, *(item.item_id for item in changed.items)])
    kept = np.ones(before.size, np.bool_)
    kept[[row for row in gone if row is not None]] = False
    return Changes(np.flatnonzero(kept), entries)


def _entries(s: Session, target: Target, items: Sequence[catalog.ItemRow]) -> tuple[Entry, ...]:
    """Items of an image channel without an image are left out."""
    if target.modality == "text":
        return tuple(Entry.of(item, content_digest(item.text)) for item in items)
    refs = images.image_refs(s, target.channel_id, [item.item_id for item in items])
    return tuple(
        Entry.of(item, bytes.fromhex(refs[item.item_id])[:DIGEST_BYTES])
        for item in items
        if item.item_id in refs
    )


def read_counts(db: Database, target: Target, ids: Sequence[str], few: bool) -> NDArray[np.int64]:
    """Interactions of each item, (N,); of `few` items only theirs are counted."""
    with db.read() as s:
        popularity = events.popularity(s, target.channel_id, ids if few else None)
    return np.array([popularity.get(item_id, 0) for item_id in ids], np.int64)


def read_contents(
    db: Database, target: Target, before: Catalog, rows: Sequence[int]
) -> list[str] | list[bytes]:
    """The texts or images in these rows of a catalogue; raises `Unavailable` where one is another by now."""
    if target.modality == "text":
        return [str(before.metadata(row)["text"]) for row in rows]
    ids = [before.item_id(row) for row in rows]
    with db.read() as s:
        found = images.load_images(s, target.channel_id, ids)
    contents = [found.get(item_id, b"") for item_id in ids]
    # Read in a later transaction than their digests: an image that was replaced in between must not be kept
    # under the old one's name, which other items may share.
    if any(content_digest(c) != before.digests[row].tobytes() for c, row in zip(contents, rows, strict=True)):
        raise Unavailable("Images were changed while the release was built; it is built again.")
    return contents
