"""Training jobs and their leases."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from app.core.errors import Conflict, LeaseLost, NotFound
from app.store import jobs
from app.store.db import Database
from app.store.jobs import JobState
from app.store.tables import Channel


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
        for call in (jobs.get_job, jobs.request_cancel):
            with pytest.raises(NotFound):
                call(s, "another", job_id)
