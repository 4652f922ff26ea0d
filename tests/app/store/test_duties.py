"""Who does the regular tasks, when a channel is trained again, and which versions are kept."""

import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import select, update

from app.core.clock import now
from app.core.errors import NotFound
from app.core.rollout import Plan
from app.store import duties, jobs, policies, registry, releases, retention, rollouts, vectors
from app.store.db import Database
from app.store.events import InteractionRow, append_interactions
from app.store.jobs import JobState
from app.store.tables import Channel, Interaction, ItemVectors, Release, TrainingJob, TrainingPolicy
from tests.app.store.test_releases import add_adapter, champion


def take(database: Database, owner: str, seconds: float = 30) -> bool:
    with database.session() as s:
        return duties.take(s, "sweep", owner, seconds)


def test_a_duty_has_one_owner_until_it_runs_out(database: Database) -> None:
    with ThreadPoolExecutor(4) as pool:
        owners = [f"p{n}" for n in range(4)]
        first = list(pool.map(lambda owner: take(database, owner, 1.5), owners))
    assert sum(first) == 1
    owner = owners[first.index(True)]
    assert take(database, owner, 1.5)
    assert not take(database, "other")
    time.sleep(1.6)
    assert take(database, "other")
    assert not take(database, owner)
    with database.session() as s:
        duties.give_back(s, "sweep", owner)  # not its any more
    assert not take(database, owner)
    with database.session() as s:
        duties.give_back(s, "sweep", "other")
    assert take(database, owner)


def set_policy(database: Database, channel: Channel, **when: int | None) -> None:
    with database.session() as s:
        wanted = {"every_seconds": None, "after_interactions": None} | when
        policies.set_policy(s, channel.id, config={"promote": True}, actor="ann", **wanted)


def start(database: Database, channel: Channel) -> TrainingJob | None:
    with database.session() as s:
        return policies.start_if_due(s, channel.id)


def end_jobs(database: Database) -> None:
    with database.session() as s:
        s.execute(update(TrainingJob).values(state=JobState.SUCCEEDED))


def interact(database: Database, channel: Channel, *timestamps: int) -> None:
    with database.session() as s:
        append_interactions(s, channel.id, [InteractionRow("u", "i", t) for t in timestamps])


def test_trained_again_after_so_many_interactions(database: Database, channel: Channel) -> None:
    interact(database, channel, 1, 2, 3, 4)
    set_policy(database, channel, after_interactions=3)
    assert start(database, channel) is None  # those that were there do not count
    interact(database, channel, 5, 6)
    assert start(database, channel) is None
    interact(database, channel, 7)
    job = start(database, channel)
    assert job is not None
    assert (job.state, job.created_by, job.config) == (JobState.PENDING, "policy", {"promote": True})
    interact(database, channel, 8, 9, 10)
    assert start(database, channel) is None  # one at a time
    end_jobs(database)
    assert start(database, channel) is not None
    end_jobs(database)
    with database.session() as s:  # a user is deleted
        s.execute(update(Interaction).where(Interaction.timestamp < 6).values(channel_id=other(s)))
    assert start(database, channel) is None
    interact(database, channel, 11, 12, 13)
    assert start(database, channel) is not None


def other(s: object) -> str:
    from app.store.channels import create_channel
    from app.store.tenants import create_tenant

    return create_channel(s, create_tenant(s, "other").id, "books", "", "bb-1").id  # type: ignore[arg-type]


def test_trained_again_every_so_often(database: Database, channel: Channel) -> None:
    set_policy(database, channel, every_seconds=1)
    assert start(database, channel) is None
    time.sleep(1.1)
    with ThreadPoolExecutor(4) as pool:
        started = list(pool.map(lambda _: start(database, channel), range(4)))
    assert sum(job is not None for job in started) == 1
    end_jobs(database)
    assert start(database, channel) is None
    with database.session() as s:
        assert policies.with_policy(s) == [channel.id]
        policies.delete_policy(s, channel.id)
        with pytest.raises(NotFound):
            policies.delete_policy(s, channel.id)
    assert start(database, channel) is None


def test_a_changed_policy_counts_from_the_last_job(database: Database, channel: Channel) -> None:
    set_policy(database, channel, every_seconds=3600)
    interact(database, channel, 1, 2)
    set_policy(database, channel, after_interactions=2)
    assert start(database, channel) is None  # nobody counted before
    interact(database, channel, 3, 4)
    set_policy(database, channel, after_interactions=2)
    assert start(database, channel) is not None
    with database.read() as s:
        policy = policies.get_policy(s, channel.id)
        assert policy.interactions == 4
        assert policy.last_job_at is not None and policy.last_job_at <= now()
        assert s.scalars(select(TrainingPolicy.updated_by)).all() == ["ann"]
        assert len(jobs.list_jobs(s, channel.id)) == 1


def versions(database: Database, channel: Channel) -> list[int]:
    with database.read() as s:
        adapters = {adapter.version for adapter in registry.list_adapters(s, channel.id)}
        assert {*adapters, 0} == set(
            s.scalars(select(Release.version).where(Release.channel_id == channel.id))
        )
        return sorted(adapters)


def test_old_versions_are_deleted(database: Database, channel: Channel) -> None:
    for n in range(8):
        adapter = add_adapter(database, channel, b"same" if n in (0, 7) else f"w{n}".encode())
        with database.session() as s:
            vectors.save_vectors(s, channel.id, adapter.sha256, "bb-2", b"v")
    with database.session() as s:
        for version in (2, 3, 4):  # 3 is what a rollback returns to, 2 is not
            releases.promote(s, channel.id, version, actor="a", reason="")
        rollouts.set_challenger(s, channel.id, 5, Plan(shadow=True), actor="a", reason="")
    assert retention.drop_old(database, 0) == 0
    assert retention.drop_old(database, 8) == 0
    assert retention.drop_old(database, 2) == 3
    assert versions(database, channel) == [3, 4, 5, 7, 8]
    with database.read() as s:
        kept = set(s.scalars(select(ItemVectors.adapter_sha256)))
        there = {adapter.sha256 for adapter in registry.list_adapters(s, channel.id)}
    assert kept == there  # also of version 8, whose weights are those of version 1
    assert retention.drop_old(database, 2) == 0
    with database.session() as s:
        assert releases.rollback(s, channel.id, actor="a", reason="").version == 3
        assert releases.rollback(s, channel.id, actor="a", reason="").version == 0  # 2 is gone
    assert champion(database, channel) == 0
    assert add_adapter(database, channel).version == 9
