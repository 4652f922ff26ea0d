"""Adapters, releases and the champion."""

import hashlib
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import inspect

from app.core.errors import Conflict, NotFound
from app.store import registry, releases
from app.store.channels import generations
from app.store.db import Database
from app.store.tables import Adapter, Channel


def add_adapter(database: Database, channel: Channel, weights: bytes = b"w") -> Adapter:
    with database.session() as s:
        return registry.register(
            s,
            channel.id,
            method="houlsby",
            config={"dim": 8},
            weights=weights,
            backbone_fingerprint="bb-2",
            metrics={"hr@10": 0.1},
            source="training",
            actor="me",
        )


def champion(database: Database, channel: Channel) -> int:
    with database.read() as s:
        return releases.champion(s, channel.id).version


def test_register(database: Database, channel: Channel) -> None:
    assert [add_adapter(database, channel, weights).version for weights in (b"one", b"two")] == [1, 2]
    with database.read() as s:
        newest, oldest = registry.list_adapters(s, channel.id)
        assert (newest.version, oldest.version) == (2, 1)
        assert "weights" in inspect(newest).unloaded
        adapter = registry.get_adapter(s, channel.id, 1, with_weights=True)
        assert adapter.weights == b"one"
        assert registry.sizes(s, channel.id) == {1: 3, 2: 3}
        assert registry.sizes(s, "another") == {}
        assert adapter.sha256 == hashlib.sha256(b"one").hexdigest()
        with pytest.raises(NotFound, match="version 3"):
            registry.get_adapter(s, channel.id, 3)
    assert champion(database, channel) == 0


def test_a_version_is_never_reused(database: Database, channel: Channel) -> None:
    adapter = add_adapter(database, channel)
    with database.session() as s:
        s.delete(registry.get_adapter(s, channel.id, adapter.version))
    assert add_adapter(database, channel).version == 2


def test_versions_of_adapters_at_once_differ(database: Database, channel: Channel) -> None:
    with ThreadPoolExecutor(4) as pool:
        added = list(pool.map(lambda _: add_adapter(database, channel).version, range(4)))
    assert sorted(added) == [1, 2, 3, 4]


def test_unknown_channel(database: Database, channel: Channel) -> None:
    with database.session() as s:
        for call in (releases.champion, lambda s, c: releases.promote(s, c, 0, actor="", reason="")):
            with pytest.raises(NotFound, match="channel is gone"):
                call(s, "none")
    with pytest.raises(NotFound, match="channel is gone"):
        add_adapter(database, Channel(id="none"))


def test_promote_and_walk_back(database: Database, channel: Channel) -> None:
    add_adapter(database, channel)
    add_adapter(database, channel)
    with database.session() as s:
        releases.promote(s, channel.id, 1, actor="ann", reason="first", expected_current=0)
        promoted = releases.promote(s, channel.id, 2, actor="bob", reason="better")
        assert promoted.adapter_id is not None and promoted.backbone_fingerprint == "bb-2"
        releases.promote(s, channel.id, 2, actor="bob", reason="again")
        assert releases.rollback(s, channel.id, actor="ann", reason="worse").version == 1
        assert releases.rollback(s, channel.id, actor="ann", reason="worse").version == 0
        with pytest.raises(Conflict, match="no earlier champion"):
            releases.rollback(s, channel.id, actor="ann", reason="")
    with database.read() as s:
        moves = [(h.action, h.from_version, h.to_version, h.actor) for h in releases.history(s, channel.id)]
        assert moves == [
            ("promote", 0, 1, "ann"),
            ("promote", 1, 2, "bob"),
            ("rollback", 2, 1, "ann"),
            ("rollback", 1, 0, "ann"),
        ]
        assert generations(s) == {channel.id: 4}


def test_rollback_does_not_go_round_in_circles(database: Database, channel: Channel) -> None:
    add_adapter(database, channel)
    with database.session() as s:
        releases.promote(s, channel.id, 1, actor="a", reason="")
        releases.promote(s, channel.id, 0, actor="a", reason="")
        assert releases.rollback(s, channel.id, actor="a", reason="").version == 1
        assert releases.rollback(s, channel.id, actor="a", reason="").version == 0
        with pytest.raises(Conflict):
            releases.rollback(s, channel.id, actor="a", reason="")


def test_refused_promotes_change_nothing(database: Database, channel: Channel) -> None:
    with pytest.raises(NotFound, match="no version 9"), database.session() as s:
        releases.promote(s, channel.id, 9, actor="a", reason="")
    with pytest.raises(Conflict) as caught, database.session() as s:
        releases.promote(s, channel.id, 0, actor="a", reason="", expected_current=5)
    assert caught.value.extra == {"current": 0}
    with database.read() as s:
        assert releases.history(s, channel.id) == []
        assert generations(s) == {channel.id: 0}


def test_two_promotes_at_once_have_one_winner(database: Database, channel: Channel) -> None:
    versions = [add_adapter(database, channel).version for _ in range(2)]
    barrier = threading.Barrier(2)

    def work(version: int) -> bool:
        barrier.wait()
        try:
            with database.session() as s:
                releases.promote(s, channel.id, version, actor="a", reason="", expected_current=0)
        except Conflict:
            return False
        return True

    with ThreadPoolExecutor(2) as pool:
        won = list(pool.map(work, versions))
    assert sorted(won) == [False, True]
    assert champion(database, channel) == versions[won.index(True)]
