"""Training jobs and their leases."""

import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest

from app.core.errors import Conflict, LeaseLost, NotFound
from app.core.priority import Priority
from app.store import jobs
from app.store.channels import create_channel
from app.store.db import Database, db_now
from app.store.jobs import JobState
from app.store.tables import Channel
from app.store.tenants import create_tenant


@pytest.fixture
def job_id(database: Database, channel: Channel) -> str:
    with database.session() as s:
        return jobs.create_job(s, channel.id, {"epochs": 2}, "me").id


def test_life_of_a_job(database: Database, channel: Channel, job_id: str) -> None:
    with database.session() as s:
        assert jobs.claimable(s) == [job_id]
        job = jobs.claim(s, job_id, "w1", 60)
        assert job is not None
        assert (job.state, job.attempts, job.config) == ("RUNNING", 1, {"epochs": 2})
    with database.session() as s:
        assert jobs.claimable(s) == []
        assert jobs.claim(s, job_id, "w2", 60) is None
        assert jobs.heartbeat(s, job_id, "w1", {"epoch": 1}, 60) is False
        jobs.finish(s, job_id, "w1", JobState.SUCCEEDED, {"hr": 0.5}, adapter_version=3)
    with database.session() as s:
        job = jobs.get_job(s, channel.id, job_id)
        assert (job.state, job.result, job.adapter_version) == ("SUCCEEDED", {"hr": 0.5}, 3)
        assert job.progress == {"epoch": 1}
        assert job.finished_at is not None and job.finished_at.utcoffset() is not None
        with pytest.raises(LeaseLost):
            jobs.heartbeat(s, job_id, "w1", {}, 60)
        with pytest.raises(Conflict, match="has ended"):
            jobs.request_cancel(s, channel.id, job_id)
        with pytest.raises(ValueError, match="not a final state"):
            jobs.finish(s, job_id, "w1", JobState.RUNNING)


def test_two_claims_at_once_have_one_winner(database: Database, job_id: str) -> None:
    barrier = threading.Barrier(2)

    def work(owner: str) -> bool:
        barrier.wait()
        with database.session() as s:
            return jobs.claim(s, job_id, owner, 60) is not None

    with ThreadPoolExecutor(2) as pool:
        assert sorted(pool.map(work, ["w1", "w2"])) == [False, True]


def test_a_silent_worker_loses_the_job(database: Database, job_id: str) -> None:
    with database.session() as s:
        jobs.claim(s, job_id, "w1", -1)
        jobs.save_checkpoint(s, job_id, owner="w1", step=5, state={"lr": 0.1}, tensors=b"abc")
        assert jobs.claimable(s) == [job_id]
        job = jobs.claim(s, job_id, "w2", 60)
        assert job is not None and job.attempts == 2
    with database.session() as s:
        for work in (
            lambda: jobs.heartbeat(s, job_id, "w1", {}, 60),
            lambda: jobs.save_checkpoint(s, job_id, owner="w1", step=6, state={}, tensors=b"old"),
            lambda: jobs.finish(s, job_id, "w1", JobState.SUCCEEDED),
        ):
            with pytest.raises(LeaseLost):
                work()
    with database.session() as s:
        found = jobs.load_checkpoint(s, job_id)
        assert found is not None
        assert (found.step, found.state, found.tensors) == (5, {"lr": 0.1}, b"abc")
        jobs.save_checkpoint(s, job_id, owner="w2", step=7, state={}, tensors=b"new")
    with database.session() as s:
        found = jobs.load_checkpoint(s, job_id)
        assert found is not None and (found.step, found.tensors) == (7, b"new")
        jobs.finish(s, job_id, "w2", JobState.FAILED, error="out of memory")
        assert jobs.load_checkpoint(s, job_id) is None


def test_cancel(database: Database, channel: Channel, job_id: str) -> None:
    with database.session() as s:
        running = jobs.create_job(s, channel.id, {}, "me").id
        jobs.claim(s, running, "w", 60)
        assert jobs.request_cancel(s, channel.id, job_id).state == JobState.CANCELLED
        assert jobs.request_cancel(s, channel.id, running).state == JobState.RUNNING
        assert jobs.heartbeat(s, running, "w", {}, 60) is True
        assert jobs.claim(s, job_id, "w", 60) is None


def test_jobs_of_another_channel_are_not_there(database: Database, channel: Channel, job_id: str) -> None:
    with database.session() as s:
        newer = jobs.create_job(s, channel.id, {}, "me").id
        assert [job.id for job in jobs.list_jobs(s, channel.id)] == [newer, job_id]
        assert [job.id for job in jobs.list_jobs(s, channel.id, 1)] == [newer]
        assert [job.id for job in jobs.list_jobs(s, channel.id, 1, before=newer)] == [job_id]
        for call in (jobs.get_job, jobs.request_cancel):
            with pytest.raises(NotFound):
                call(s, "another", job_id)


def test_tenants_take_turns(database: Database, channel: Channel) -> None:
    """However many jobs one tenant has, and however urgent: another one's comes next."""
    with database.session() as s:
        other = create_channel(s, create_tenant(s, "late").id, "books", "", "bb-1")
        many = [jobs.create_job(s, channel.id, {}, "me", Priority.HIGH).id for _ in range(3)]
        few = [jobs.create_job(s, other.id, {}, "you").id for _ in range(2)]
    done = []
    for _ in range(5):
        with database.session() as s:
            job = jobs.claim(s, jobs.claimable(s)[0], "w", 60)
            assert job is not None
            done.append(job.id)
            jobs.finish(s, job.id, "w", JobState.SUCCEEDED)
    assert done == [many[0], few[0], many[1], few[1], many[2]]


def test_a_tenant_at_work_waits_for_one_that_is_not(database: Database, channel: Channel) -> None:
    with database.session() as s:
        other = create_channel(s, create_tenant(s, "late").id, "books", "", "bb-1")
        busy = [jobs.create_job(s, channel.id, {}, "me").id for _ in range(2)]
        idle = jobs.create_job(s, other.id, {}, "you").id
        jobs.claim(s, idle, "w1", 60)
        jobs.finish(s, idle, "w1", JobState.SUCCEEDED)  # its last job began before the other's
    with database.session() as s:
        jobs.claim(s, busy[0], "w1", 60)
        idle = jobs.create_job(s, other.id, {}, "you").id
    with database.session() as s:
        assert jobs.claimable(s) == [idle, busy[1]]


def test_priority_counts_among_a_tenants_own_jobs(database: Database, channel: Channel) -> None:
    with database.session() as s:
        order = (Priority.LOW, Priority.NORMAL, Priority.HIGH, Priority.HIGH)
        low, normal, high, later = (jobs.create_job(s, channel.id, {}, "me", p).id for p in order)
    with database.session() as s:
        assert jobs.claimable(s) == [high, later, normal, low]


def test_a_job_that_failed_waits_for_its_next_try(database: Database, channel: Channel, job_id: str) -> None:
    with database.session() as s:
        jobs.claim(s, job_id, "w1", 60)
        jobs.save_checkpoint(s, job_id, owner="w1", step=5, state={}, tensors=b"abc")
        jobs.retry(s, job_id, "w1", "out of memory", 60)
    with database.session() as s:
        assert jobs.claimable(s) == []
        assert jobs.claim(s, job_id, "w2", 60) is None
        job = jobs.get_job(s, channel.id, job_id)
        assert (job.state, job.failures, job.error) == ("PENDING", 1, "out of memory")
        with pytest.raises(LeaseLost):
            jobs.retry(s, job_id, "w1", "again", 0)
    with database.session() as s:
        jobs.get_job(s, channel.id, job_id).not_before = db_now(s)
    with database.session() as s:
        assert jobs.claim(s, job_id, "w2", 60) is not None
        kept = jobs.load_checkpoint(s, job_id)
        assert kept is not None and kept.step == 5


def test_a_clock_that_is_wrong_here_steals_no_lease(
    database: Database, job_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On PostgreSQL the server's clock counts; a SQLite file has no second machine with another clock."""
    if database.is_sqlite:
        pytest.skip("one machine, one clock")
    with database.session() as s:
        jobs.claim(s, job_id, "w1", 60)
    for module in ("app.store.jobs.now", "app.store.db.now", "app.core.clock.now"):
        monkeypatch.setattr(module, lambda: datetime.now(UTC) + timedelta(hours=1))
    with database.session() as s:
        assert jobs.claimable(s) == []
        assert jobs.claim(s, job_id, "w2", 60) is None


def test_jobs_are_counted_by_state(database: Database, channel: Channel, job_id: str) -> None:
    with database.session() as s:
        jobs.create_job(s, channel.id, {}, "me")
        jobs.claim(s, job_id, "w1", 60)
    with database.read() as s:
        counts = jobs.count_by_state(s)
    assert counts == dict.fromkeys(map(str, JobState), 0) | {"RUNNING": 1, "PENDING": 1}
