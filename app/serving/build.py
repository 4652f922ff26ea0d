"""Builds a channel's release aside from the one that answers: reads only what is not on disk, encodes only
what nobody has encoded, and leaves a folder that every process of the machine can open.
"""

import logging
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from app.core.errors import Invalid, Unavailable
from app.model.backbone import Backbone, Backbones
from app.model.encode import Progress, encode_histories, encode_items, popularity_bias, prior_of
from app.model.inputs import distinct_contents
from app.model.snapshot import snapshot_from_bytes, snapshot_to_bytes
from app.serving.adapted import Adapted
from app.serving.arrays import write_arrays
from app.serving.catalog import IDS, ITEMS, Catalog, write_catalog
from app.serving.columns import ATTRIBUTES, columns_of, joined, write_columns
from app.serving.desk import Desk
from app.serving.folders import Folders
from app.serving.index import Asked, Index, kind_for
from app.serving.release import POPULARITY, Bundle, Facts, Release, digest_of, open_bundle
from app.serving.source import Changes, Target, read_changes, read_contents, read_counts, read_target
from app.store import events, vectors
from app.store.db import Database
from app.store.tables import Channel

log = logging.getLogger(__name__)
ENCODE_CHUNK = {"text": 4096, "image": 64}  # contents in memory at once: an image may have megabytes
FEW = 64  # so many contents are looked for one by one, more are looked up in a dictionary
SAMPLED_USERS = 200  # whose vectors measure an approximate index's recall
KEEP_SHARE = 0.01  # vectors go to the database once more than this share of them is new


@dataclass(eq=False)
class Builder:
    """Builds releases of any channel; safe to share between threads and processes."""

    db: Database
    backbones: Backbones
    folders: Folders
    index: Asked = "auto"
    desk_bytes: int = 256 * 1024**2
    desks: dict[str, Desk] = field(init=False)  # by modality: what encodes a few new items

    def __post_init__(self) -> None:
        """Make the desks."""
        modalities = self.backbones.fingerprints()
        self.desks = {m: Desk(self.backbones.get(m), self.desk_bytes) for m in modalities}

    def build(self, channel_id: str, progress: Progress | None = None) -> Release:
        """The release that the channel's champion asks for now, whole on disk.

        Raises `NotFound` (channel gone), `Invalid` (the adapter does not fit) and `Unavailable`.
        """
        return self.make(read_target(self.db, channel_id), progress)

    def make(self, target: Target, progress: Progress | None = None, lane: str = "") -> Release:
        """The release that the target asks for; raises as `build` does. No lane waits for another."""
        backbone = self.backbones.get(target.modality)
        key = target.key(backbone.fingerprint, self.index)
        folder = self.folders.get(
            target.channel_id, key, lambda path: _Making(self, target, backbone, path, progress).run(), lane
        )
        return Release(
            target.channel_id,
            target.channel,
            target.modality,
            target.version,
            target.method,
            target.generation,
            folder,
            Facts.read(folder),
        )


@dataclass(frozen=True)
class _Making:
    """One release in the making."""

    builder: Builder
    target: Target
    backbone: Backbone
    folder: Path
    progress: Progress | None

    def run(self) -> None:
        """Fill the folder and check it."""
        self.folder.mkdir()
        changes = read_changes(self.builder.db, self.target, *self._catalog_before())
        catalog = self._write_catalog(changes)
        encoded = self._vectors(catalog, changes)
        counts = self._counts(catalog, changes)
        indexed = np.column_stack([encoded, popularity_bias(self.prior, counts)])
        index = self._index(catalog, indexed, changes)
        index.save(self.folder)
        popular = np.argsort(-counts, kind="stable").astype(np.int32)
        write_arrays(self.folder / POPULARITY, {"counts": counts, "popular": popular})
        self.adapted.write_user_side(self.folder)
        self._facts(catalog, index, indexed).write(self.folder)
        open_bundle(self.folder)  # nothing unchecked goes live

    @cached_property
    def base(self) -> Bundle | None:
        """The release on disk that has most in common with the target: its adapter, else its catalogue."""
        for folder in sorted(self.builder.folders.latest(self.target.channel_id), key=self._in_common)[::-1]:
            try:
                return open_bundle(folder)
            except Invalid as error:
                log.warning("channel %s: %s", self.target.channel_id, error)
        return None

    def _in_common(self, folder: Path) -> tuple[bool, int]:
        try:
            facts = Facts.read(folder)
        except Invalid:
            return False, -1
        return self._same_vectors(facts), facts.items_revision

    def _same_vectors(self, facts: Facts) -> bool:
        mine = (self.target.adapter_sha256, self.backbone.fingerprint)
        return (facts.adapter_sha256, facts.fingerprint) == mine

    @property
    def _vectors_before(self) -> Bundle | None:
        return self.base if self.base and self._same_vectors(self.base.facts) else None

    def _catalog_before(self) -> tuple[Catalog | None, int]:
        return (self.base.catalog, self.base.facts.items_revision) if self.base else (None, -1)

    @cached_property
    def adapted(self) -> Adapted:
        """The adapter, and the model with it."""
        return Adapted(self.builder.db, self.target, self.backbone)

    @cached_property
    def prior(self) -> float:
        """The weight of the adapter's popularity prior."""
        if self._vectors_before:
            return self._vectors_before.facts.prior
        return prior_of(self.adapted.model)

    def _write_catalog(self, changes: Changes) -> Catalog:
        if self.base and self.base.facts.items_revision == self.target.items_revision:
            for name in (IDS, ITEMS, ATTRIBUTES):
                os.link(self.base.folder / name, self.folder / name)
        else:
            write_catalog(self.folder, changes.added, self.base.catalog if self.base else None, changes.kept)
            self._write_columns(changes)
        return Catalog(self.folder)

    def _write_columns(self, changes: Changes) -> None:
        columns = columns_of([entry.attributes for entry in changes.added], len(changes.kept))
        before = self.base.attributes if self.base else None
        if before:
            columns = joined(before.columns, changes.kept, before.size, columns)
        size = len(changes.kept) + len(changes.added)
        write_columns(self.folder, size, columns, before is None or before.complete)

    def _vectors(self, catalog: Catalog, changes: Changes) -> NDArray[np.float32]:
        """(N, d): those of the base, then those that the database has, then encoded ones."""
        out = np.empty((catalog.size, self.backbone.model.config.dim), np.float32)
        before = self._vectors_before
        done = len(changes.kept) if before else 0
        if before:
            out[:done] = before.vectors[changes.kept]
        names = distinct_contents([digest.tobytes() for digest in catalog.digests[done:]])
        known = self._known(names.distinct)
        missing = [row for row, name in enumerate(names.distinct) if name not in known]
        fresh = np.empty((len(names.distinct), out.shape[1]), np.float32)
        for row, name in enumerate(names.distinct):
            if name in known:
                fresh[row] = known[name]
        item_of = done + np.unique(names.of_item, return_index=True)[1]  # one item that has this content
        for chunk, encoded in self._encoded(catalog, missing, item_of):
            fresh[chunk] = encoded
        out[done:] = fresh[names.of_item]
        if len(missing) > KEEP_SHARE * catalog.size:
            self._keep(catalog, self._all_known | dict(zip(names.distinct, fresh, strict=True)))
        if done < catalog.size and (residual := self.adapted.residual):
            out[done:] += residual.of([catalog.item_id(row) for row in range(done, catalog.size)])
        self._check_finite(out, bool(before))
        return out

    def _known(self, names: Sequence[bytes]) -> dict[bytes, NDArray[np.float32]]:
        """Vectors of this very adapter by content digest, as far as somebody has encoded them."""
        before = self._vectors_before
        if before and len(names) <= FEW:
            heads = before.catalog.digests
            rows = {name: np.flatnonzero((heads == np.frombuffer(name, np.uint8)).all(1)) for name in names}
            bare = {name: self._of_content_alone(before, found) for name, found in rows.items()}
            return {name: before.vectors[found[0]] for name, found in bare.items() if len(found)}
        return self._all_known

    @cached_property
    def _all_known(self) -> dict[bytes, NDArray[np.float32]]:
        """All that the database and the base have, by content digest."""
        known, before = self._stored(), self._vectors_before
        if before:
            bare = self._of_content_alone(before, np.arange(before.facts.items))
            known |= {before.catalog.digests[row].tobytes(): before.vectors[row] for row in bare}
        dim = self.backbone.model.config.dim
        return {name: vector for name, vector in known.items() if vector.shape == (dim,)}

    def _of_content_alone(self, before: Bundle, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """Those of the rows whose vectors hold no residual: what their content says."""
        residual = self.adapted.residual
        if residual is None:
            return rows
        return rows[residual.find([before.catalog.item_id(row) for row in rows]) < 0]

    def _stored(self) -> dict[bytes, NDArray[np.float32]]:
        target = self.target
        with self.builder.db.read() as s:
            data = vectors.load_vectors(
                s, target.channel_id, target.adapter_sha256, self.backbone.fingerprint
            )
        try:
            return dict(snapshot_from_bytes(data)) if data else {}
        except Invalid as error:
            log.warning("channel %s: %s", target.channel_id, error)
            return {}

    def _encoded(
        self, catalog: Catalog, missing: list[int], item_of: NDArray[np.int64]
    ) -> Iterator[tuple[list[int], NDArray[np.float32]]]:
        size = ENCODE_CHUNK[self.target.modality]
        for start in range(0, len(missing), size):

            def note(done: int, _: int, before: int = start) -> None:
                if self.progress:
                    self.progress(before + done, len(missing))

            chunk = missing[start : start + size]
            contents = read_contents(self.builder.db, self.target, catalog, item_of[chunk].tolist())
            if len(missing) <= FEW:
                desk = self.builder.desks[self.target.modality]
                yield chunk, desk.encode(self.adapted.item_side, contents)
                note(len(chunk), 0)
            else:
                yield chunk, encode_items(self.adapted.model, self.backbone.inputs(contents), note)

    def _check_finite(self, encoded: NDArray[np.float32], users_checked: bool) -> None:
        if not np.isfinite(encoded).all():
            raise Invalid("The release's item vectors hold NaN or infinite values. Train the adapter again.")
        if len(encoded) and not users_checked:
            user = encode_histories(self.adapted.model, torch.from_numpy(encoded[:1]), [[0]])
            if not np.isfinite(user).all():
                raise Invalid("The user encoder gives NaN or infinite values. Train the adapter again.")

    def _keep(self, catalog: Catalog, known: dict[bytes, NDArray[np.float32]]) -> None:
        """Store the catalogue's for other machines; without them they merely encode again."""
        names = [n for n in distinct_contents([d.tobytes() for d in catalog.digests]).distinct if n in known]
        data = snapshot_to_bytes(names, np.stack([known[name] for name in names]))
        target = self.target
        try:
            with self.builder.db.session() as s:
                if s.get(Channel, target.channel_id) is not None:
                    fingerprint = self.backbone.fingerprint
                    vectors.save_vectors(s, target.channel_id, target.adapter_sha256, fingerprint, data)
        except Unavailable as error:
            log.warning("channel %s: the vectors were not stored: %s", target.channel_id, error)

    def _counts(self, catalog: Catalog, changes: Changes) -> NDArray[np.int64]:
        db, base = self.builder.db, self.base
        if base and base.facts.events_revision == self.target.events_revision:
            added = read_counts(db, self.target, [entry.item_id for entry in changes.added], few=True)
            return np.concatenate([base.counts[changes.kept], added])
        return read_counts(db, self.target, [*map(catalog.item_id, range(catalog.size))], few=False)

    def _index(self, catalog: Catalog, indexed: NDArray[np.float32], changes: Changes) -> Index:
        before, n = self._vectors_before, len(changes.kept)
        queries = self._queries(catalog, indexed)
        if before and np.array_equal(before.index.vectors[changes.kept, -1], indexed[:n, -1]):
            return before.index.changed(changes.kept, indexed[n:], queries)
        return Index.build(indexed, self.builder.index, queries)

    def _queries(self, catalog: Catalog, indexed: NDArray[np.float32]) -> NDArray[np.float32] | None:
        """Real users' vectors to measure an approximate index with: items look otherwise (docs/log.md)."""
        if kind_for(self.builder.index, catalog.size) == "flat":
            return None
        config = self.backbone.model.config
        with self.builder.db.read() as s:
            found = events.some_histories(s, self.target.channel_id, SAMPLED_USERS, config.length)
        rows = [[row for row in catalog.rows(history) if row is not None] for history in found]
        histories = [history for history in rows if history]
        if not histories:
            return None
        users = encode_histories(self.adapted.model, torch.from_numpy(indexed[:, :-1]), histories)
        return np.column_stack([users, np.ones(len(users), np.float32)])

    def _facts(self, catalog: Catalog, index: Index, indexed: NDArray[np.float32]) -> Facts:
        target, fingerprint = self.target, self.backbone.fingerprint
        return Facts(
            adapter_sha256=target.adapter_sha256,
            fingerprint=fingerprint,
            items_revision=target.items_revision,
            events_revision=target.events_revision,
            modality=target.modality,
            items=catalog.size,
            dim=indexed.shape[1] - 1,
            prior=self.prior,
            index=index.kind,
            recall=index.recall,
            digest=digest_of(target.adapter_sha256, fingerprint, catalog, indexed),
        )
