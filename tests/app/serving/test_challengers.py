"""Challengers beside champions: who meets them, and what befalls whom when a build fails."""

import threading
from pathlib import Path

import pytest
from sqlalchemy import delete, update

from app.core.config import Settings
from app.core.errors import Unavailable
from app.core.rollout import Plan
from app.model.backbone import Backbone, Backbones
from app.serving.engine import Engine
from app.serving.failures import RETRY_SECONDS, Failure
from app.serving.folders import SIDECAR, Folders
from app.serving.release import POPULARITY
from app.store import registry, releases, rollouts
from app.store.aliases import Move
from app.store.catalog import ItemRow, delete_items, upsert_items
from app.store.db import Database
from app.store.tables import Adapter, Channel
from tests.app.serving.test_engine import refresh
from tests.fakes import SMALL, adapter_bytes

USERS = [f"user-{n}" for n in range(2000)]


@pytest.fixture
def version(sqlite: Database, channel: Channel, backbone: Backbone) -> int:
    """An adapter that nobody has promoted."""
    with sqlite.session() as s:
        return registry.register(
            s,
            channel.id,
            method="houlsby",
            config=SMALL.model_dump(exclude_none=True),
            weights=adapter_bytes(backbone, 1),
            backbone_fingerprint=backbone.fingerprint,
            metrics={},
            source="upload",
            actor="test",
        ).version


def challenge(sqlite: Database, channel: Channel, version: int, share: float, shadow: bool = False) -> None:
    with sqlite.session() as s:
        plan = Plan(share=share, shadow=shadow)
        rollouts.set_challenger(s, channel.id, version, plan, actor="test", reason="")


def met(engine: Engine, channel: Channel) -> set[str]:
    """The users who meet the challenger; each answer is of the release that it says."""
    found = {user: engine.pick(channel.id, user) for user in USERS}
    assert all((variant == "challenger") == (release.version == 1) for variant, release in found.values())
    return {user for user, (variant, _) in found.items() if variant == "challenger"}


def test_a_share_of_the_users_meets_it(
    engine: Engine, sqlite: Database, channel: Channel, version: int
) -> None:
    refresh(engine)
    assert met(engine, channel) == set()
    challenge(sqlite, channel, version, 0.2)
    refresh(engine)
    fifth = met(engine, channel)
    assert 330 <= len(fifth) <= 470  # 400, four standard deviations either way
    assert met(engine, channel) == fifth
    challenge(sqlite, channel, version, 0.5)
    refresh(engine)
    half = met(engine, channel)
    assert fifth < half
    assert 910 <= len(half) <= 1090
    challenge(sqlite, channel, version, 1)
    refresh(engine)
    assert met(engine, channel) == set(USERS)
    challenge(sqlite, channel, version, 0, shadow=True)
    refresh(engine)
    assert met(engine, channel) == set()
    assert engine.challengers.live[channel.id].shadow
    with sqlite.session() as s:
        rollouts.withdraw(s, channel.id, Move("withdraw", "test", ""))
    refresh(engine)
    assert not engine.challengers.live
    assert engine.release(channel.id).version == 0


def test_a_promoted_challenger_is_champion_only(
    engine: Engine, sqlite: Database, channel: Channel, version: int
) -> None:
    challenge(sqlite, channel, version, 0.2)
    refresh(engine)
    folder = engine.challengers.live[channel.id].release.folder
    with sqlite.session() as s:
        releases.promote(s, channel.id, version, actor="test", reason="")
    refresh(engine)
    assert not engine.challengers.live
    release = engine.release(channel.id)
    assert (release.version, release.folder) == (version, folder)  # nothing was built again
    assert {engine.pick(channel.id, user)[0] for user in USERS} == {"champion"}


def test_a_change_of_the_catalogue_reaches_both(
    engine: Engine, sqlite: Database, channel: Channel, version: int
) -> None:
    challenge(sqlite, channel, version, 0.2)
    refresh(engine)
    for _ in range(3):
        with sqlite.session() as s:
            upsert_items(s, channel.id, [ItemRow("new", "something new")])
        refresh(engine)
        with sqlite.session() as s:
            delete_items(s, channel.id, ["new", "i3"])
        refresh(engine)
    both = (engine.release(channel.id), engine.challengers.live[channel.id].release)
    assert len({release.generation for release in both}) == 1
    for release in both:
        assert engine.open(release).catalog.rows(["i1", "i3", "new"])[1:] == [None, None]


def test_a_challenger_that_does_not_build_meets_nobody(
    engine: Engine, sqlite: Database, channel: Channel, version: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    with sqlite.session() as s:
        whole = registry.get_adapter(s, channel.id, version, with_weights=True).weights
        s.execute(update(Adapter).values(weights=b"rotten"))
    challenge(sqlite, channel, version, 1)
    refresh(engine)
    assert engine.release(channel.id).version == 0
    assert met(engine, channel) == set()
    assert "damaged" in engine.challengers.failures[channel.id].reason
    assert not engine.failures
    generation = engine.release(channel.id).generation
    assert not engine.is_due(channel.id, generation)
    failure = engine.challengers.failures[channel.id]
    early = Failure(failure.generation, failure.at - RETRY_SECONDS - 1, failure.reason)
    monkeypatch.setitem(engine.challengers.failures, channel.id, early)
    assert engine.is_due(channel.id, generation)
    with sqlite.session() as s:
        upsert_items(s, channel.id, [ItemRow("new", "something new")])
        s.execute(update(Adapter).values(weights=whole))
    refresh(engine)
    assert met(engine, channel) == set(USERS)
    assert not engine.challengers.failures


def test_a_damaged_challenger_is_dropped_and_built_again(
    engine: Engine, sqlite: Database, channel: Channel, version: int
) -> None:
    challenge(sqlite, channel, version, 1)
    refresh(engine)
    challenger = engine.pick(channel.id, "u1")[1]
    (challenger.folder / POPULARITY).write_bytes(b"rotten")
    with pytest.raises(Unavailable, match="damaged"):
        engine.open(challenger)
    variant, release = engine.pick(channel.id, "u1")
    assert (variant, release.version) == ("champion", 0)
    assert engine.open(release).catalog.size == 40
    refresh(engine)
    assert engine.open(engine.pick(channel.id, "u1")[1]).facts.adapter_sha256


def test_a_champion_waits_for_no_challenger(
    engine: Engine, sqlite: Database, channel: Channel, version: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    refresh(engine)
    challenge(sqlite, channel, version, 1)
    building, go = threading.Event(), threading.Event()
    prepare = engine.challengers.prepare

    def slow(channel_id: str) -> None:
        building.set()
        assert go.wait(20)
        prepare(channel_id)

    monkeypatch.setattr(engine.challengers, "prepare", slow)
    thread = threading.Thread(target=refresh, args=(engine,))
    thread.start()
    try:
        assert building.wait(20)
        with sqlite.session() as s:
            upsert_items(s, channel.id, [ItemRow("new", "something new")])
        refresh(engine)  # while the challenger is still being built
        assert engine.open(engine.release(channel.id)).catalog.size == 41
        assert met(engine, channel) == set()
    finally:
        go.set()
        thread.join()
    challenger = engine.pick(channel.id, "u1")[1]
    assert challenger.version == version
    assert engine.open(challenger).catalog.size == 41  # what came meanwhile is in it
    assert not engine.is_due(channel.id, engine.release(channel.id).generation)


def test_a_lane_waits_for_no_other(tmp_path: Path) -> None:
    folders = Folders(tmp_path)

    def whole(path: Path) -> None:
        path.mkdir()
        (path / SIDECAR).write_text("{}")

    def outer(path: Path) -> None:
        folders.get("c", "champion", whole)  # would wait for ever in one lane
        folders.get("c", "same", whole)
        whole(path)

    assert folders.get("c", "challenger", outer, "challenger-") == tmp_path / "c" / "challenger"
    assert folders.get("c", "same", outer, "challenger-") == tmp_path / "c" / "same"
    assert {path.name for path in folders.latest("c")} == {"champion", "challenger", "same"}
    assert not list(tmp_path.glob("c/*making-*"))


def test_what_was_deleted_while_no_server_ran_is_removed(
    engine: Engine, sqlite: Database, backbone: Backbone, channel: Channel, tmp_path: Path
) -> None:
    refresh(engine)
    folder = engine.release(channel.id).folder
    with sqlite.session() as s:
        s.execute(delete(Channel).where(Channel.id == channel.id))
    later = Engine(Backbones(backbone), sqlite, Settings(home=tmp_path))
    (later.folders.root / "chn_new").mkdir()  # made by another process since: it may be of a new channel
    later.keep_only(set())
    assert not folder.exists()
    assert (later.folders.root / "chn_new").exists()
