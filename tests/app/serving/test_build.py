"""Releases in the making."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from sqlalchemy import update

from app.core.errors import Invalid, NotFound
from app.model.backbone import Backbone, Backbones
from app.model.encode import encode_histories
from app.model.snapshot import content_digest, snapshot_from_bytes, snapshot_to_bytes
from app.serving.build import Builder
from app.serving.catalog import IDS, ITEMS
from app.serving.columns import ATTRIBUTES
from app.serving.folders import SIDECAR, Folders
from app.serving.index import Index
from app.serving.release import Bundle, Facts, Release, open_bundle
from app.store import catalog, events, registry, releases, vectors
from app.store.catalog import ItemRow
from app.store.db import Database
from app.store.events import InteractionRow
from app.store.tables import Adapter, Channel
from tests.app.serving.conftest import ITEMS as SEED
from tests.app.serving.conftest import add_adapter
from tests.fakes import adapter_bytes


class Counted:
    """Builds, and keeps how many contents each build encoded."""

    def __init__(self, builder: Builder, channel: Channel) -> None:
        self.builder, self.channel, self.encoded = builder, channel, list[int]()

    def build(self) -> tuple[Release, Bundle]:
        def note(done: int, total: int) -> None:
            if done == total:
                self.encoded.append(total)

        release = self.builder.build(self.channel.id, note)
        return release, open_bundle(release.folder)


@pytest.fixture
def counted(builder: Builder, channel: Channel) -> Counted:
    return Counted(builder, channel)


def upsert(db: Database, channel: Channel, *items: ItemRow) -> None:
    with db.session() as s:
        catalog.upsert_items(s, channel.id, list(items))


def delete(db: Database, channel: Channel, *ids: str) -> None:
    with db.session() as s:
        catalog.delete_items(s, channel.id, ids)


def elsewhere(builder: Builder, folder: Path) -> Builder:
    """The same on another machine: nothing on disk yet."""
    return dataclasses.replace(builder, folders=Folders(folder))


def assert_same(one: Bundle, other: Bundle) -> None:
    """The same items with the same content, whatever their rows."""

    def content_of(bundle: Bundle) -> dict[str, tuple[object, ...]]:
        catalog = bundle.catalog
        return {
            catalog.item_id(row): (
                catalog.metadata(row),
                catalog.digests[row].tobytes(),
                int(bundle.counts[row]),
                {n: sorted(c.keys[c.of_row(row)].tolist()) for n, c in bundle.attributes.columns.items()},
            )
            for row in range(catalog.size)
        }

    assert content_of(one) == content_of(other)
    rows = other.catalog.rows([one.catalog.item_id(row) for row in range(one.catalog.size)])
    there = other.index.vectors[np.array(rows, np.int64)]
    np.testing.assert_allclose(one.index.vectors, there, atol=0.15)  # bf16 rounds by the batch


def test_snapshot_codec() -> None:
    rows = np.arange(4, dtype=np.float32).reshape(2, 2)
    found = snapshot_from_bytes(snapshot_to_bytes([content_digest("A"), content_digest("b")], rows))
    assert found[content_digest("a")].tolist() == [0, 1]
    assert snapshot_from_bytes(snapshot_to_bytes([], np.empty((0, 2), np.float32))) == {}
    for bad in (
        b"",
        b"nonsense",
        snapshot_to_bytes([content_digest("a")], np.full((1, 2), np.nan, np.float32)),
    ):
        with pytest.raises(Invalid):
            snapshot_from_bytes(bad)


def test_a_release_is_made_once_for_all_processes(counted: Counted, builder: Builder) -> None:
    first, bundle = counted.build()
    assert (first.version, first.method, first.facts.items, counted.encoded) == (0, "zero-shot", 40, [40])
    again = builder.build(first.channel_id, lambda *_: pytest.fail("encoded again"))
    assert again == first
    assert bundle.facts.recall == 1.0
    assert bundle.counts[3] == 3


def test_only_what_nobody_encoded_is_encoded(
    sqlite: Database, channel: Channel, counted: Counted, builder: Builder, tmp_path: Path
) -> None:
    first, _ = counted.build()
    # Another machine finds the stored vectors.
    other = elsewhere(builder, tmp_path / "other").build(channel.id, lambda *_: pytest.fail("encoded"))
    assert other.digest == first.digest
    upsert(sqlite, channel, ItemRow("new", "wholly new"), ItemRow("twin", "THING 1 of kind 1"))
    second, bundle = counted.build()
    assert counted.encoded == [40, 1]
    twin, original = bundle.catalog.rows(["twin", "i1"])
    assert bundle.vectors[twin].tolist() == bundle.vectors[original].tolist()
    assert second.digest != first.digest
    with sqlite.session() as s:
        vectors.save_vectors(s, channel.id, "", first.facts.fingerprint, b"damaged")
    anew = elsewhere(builder, tmp_path / "third").build(channel.id)
    assert_same(open_bundle(anew.folder), bundle)


def test_changes_give_what_a_whole_build_gives(
    sqlite: Database, channel: Channel, backbone: Backbone, builder: Builder, tmp_path: Path
) -> None:
    generator = np.random.default_rng(0)
    add_adapter(sqlite, channel, backbone, adapter_bytes(backbone, 1))
    for turn in range(12):
        ids = generator.choice(60, 6, replace=False).tolist()
        upsert(
            sqlite, channel, *(ItemRow(f"i{n}", f"thing {n} of turn {turn}", {"n": turn}) for n in ids[:3])
        )
        delete(sqlite, channel, *(f"i{n}" for n in ids[3:]))
        if turn % 4 == 0:
            with sqlite.session() as s:
                events.append_interactions(s, channel.id, [InteractionRow(f"v{turn}", f"i{ids[0]}", turn)])
        if turn % 5 == 4:  # to and fro between the adapter and the bare backbone
            with sqlite.session() as s:
                releases.promote(s, channel.id, turn % 2, actor="test", reason="")
        step = open_bundle(builder.build(channel.id).folder)
        whole = open_bundle(elsewhere(builder, tmp_path / str(turn)).build(channel.id).folder)
        assert_same(step, whole)
        popular = [step.counts[row] for row in step.popular]
        assert popular == sorted(popular, reverse=True)


def test_a_swap_back_makes_nothing(
    sqlite: Database, channel: Channel, backbone: Backbone, counted: Counted
) -> None:
    bare, _ = counted.build()
    add_adapter(sqlite, channel, backbone, adapter_bytes(backbone, 1))
    adapted, bundle = counted.build()
    assert counted.encoded == [40, 40]
    assert not np.array_equal(bundle.vectors, open_bundle(bare.folder).vectors)
    # The catalogue is the same file, not a copy.
    for name in (IDS, ITEMS, ATTRIBUTES):
        assert (bare.folder / name).samefile(adapted.folder / name)
    with sqlite.session() as s:
        releases.rollback(s, channel.id, actor="test", reason="")
    back, _ = counted.build()
    assert (back.folder, back.version, back.digest) == (bare.folder, 0, bare.digest)
    assert back.generation > adapted.generation > bare.generation
    assert counted.encoded == [40, 40]


def test_an_adapter_leaves_the_backbone_alone(
    sqlite: Database, backbone: Backbone, channel: Channel, builder: Builder
) -> None:
    before = {k: v.clone() for k, v in backbone.model.state_dict().items()}
    version = add_adapter(sqlite, channel, backbone, adapter_bytes(backbone, 1))
    release = builder.build(channel.id)
    assert (release.version, release.method) == (version, "houlsby")
    assert all(torch.equal(before[k], v) for k, v in backbone.model.state_dict().items())
    kept = open_bundle(release.folder).adapter
    assert kept.key == release.facts.adapter_sha256
    assert kept.weights
    assert all(site.startswith("user/") for site in kept.weights)  # all that answering needs


def test_what_does_not_fit_is_told(
    sqlite: Database, backbone: Backbone, channel: Channel, builder: Builder
) -> None:
    foreign = dataclasses.replace(backbone, fingerprint="other")
    add_adapter(sqlite, channel, backbone, adapter_bytes(foreign, 1))
    with pytest.raises(Invalid, match="another backbone"):
        builder.build(channel.id)
    add_adapter(sqlite, channel, backbone, adapter_bytes(backbone, 2))
    with sqlite.session() as s:
        s.execute(update(Adapter).values(weights=b"rotten"))
    with pytest.raises(Invalid, match="damaged"):
        builder.build(channel.id)
    with pytest.raises(NotFound):
        builder.build("chn_gone")
    assert not list(builder.folders.root.glob(f"*/*/{SIDECAR}"))


def test_weights_that_overflow_never_answer(
    sqlite: Database, backbone: Backbone, channel: Channel, builder: Builder
) -> None:
    huge = adapter_bytes(backbone, 1)
    add_adapter(sqlite, channel, backbone, huge)
    with sqlite.session() as s:
        row = registry.get_adapter(s, channel.id, 1)
        bad = snapshot_to_bytes([content_digest(SEED[0].text)], np.full((1, 64), np.inf, np.float32))
        vectors.save_vectors(s, channel.id, row.sha256, backbone.fingerprint, bad)
    assert np.isfinite(open_bundle(builder.build(channel.id).folder).vectors).all()  # encoded instead


def test_a_damaged_base_is_passed_over(
    sqlite: Database, channel: Channel, counted: Counted, caplog: pytest.LogCaptureFixture
) -> None:
    first, _ = counted.build()
    upsert(sqlite, channel, ItemRow("new", "wholly new"))
    (first.folder / ITEMS).write_bytes(b"rotten")
    _, bundle = counted.build()
    assert bundle.catalog.size == 41
    assert "damaged" in caplog.text


def test_what_a_folder_says_of_itself(builder: Builder, channel: Channel) -> None:
    release = builder.build(channel.id)
    written = json.loads((release.folder / SIDECAR).read_text())
    assert written["items"] == 40
    (release.folder / SIDECAR).write_text(json.dumps(written | {"items": 41}))
    with pytest.raises(Invalid, match="41 items"):
        open_bundle(release.folder)
    (release.folder / SIDECAR).write_text("{")
    with pytest.raises(Invalid, match="damaged"):
        Facts.read(release.folder)


def test_another_backbone_makes_other_folders(
    sqlite: Database, channel: Channel, backbone: Backbone, builder: Builder
) -> None:
    mine = builder.build(channel.id)
    other = dataclasses.replace(
        builder, backbones=Backbones(dataclasses.replace(backbone, fingerprint="other"))
    )
    assert other.build(channel.id).folder != mine.folder


def test_an_approximate_index_is_measured_with_real_users(
    sqlite: Database, channel: Channel, builder: Builder, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[object] = []
    real = Index.build

    def build(vectors: object, kind: object = "auto", queries: object = None) -> Index:
        asked.append(queries)
        return real(vectors, kind, queries)  # type: ignore[arg-type]

    monkeypatch.setattr(Index, "build", build)
    release = dataclasses.replace(builder, index="ivf").build(channel.id)
    assert release.facts.index == "ivf"
    assert release.facts.recall >= 0.95
    (queries,) = asked
    assert isinstance(queries, np.ndarray)
    assert queries.shape == (3, 65)  # u0, u1, u2
    assert (queries[:, -1] == 1).all()
    bundle = open_bundle(release.folder)
    row = bundle.catalog.rows(["i3"])[0] or 0
    own = encode_histories(
        builder.backbones.get("text").model, torch.from_numpy(bundle.vectors.copy()), [[row]]
    )
    assert any(np.allclose(query[:-1], own[0], atol=1e-4) for query in queries)  # u0 met i3 and nothing else
