"""Machines whose clocks differ: leases go by the database's clock."""

import shutil
import subprocess
import time
from datetime import timedelta
from pathlib import Path

import pytest

from app.core.clock import now
from app.store import jobs
from app.store.db import Database, db_now
from tests.app.api.conftest import Shop
from tests.faults.conftest import ADMIN, JOB, Recovery, World
from tests.servers import Worker, wait_for

JOBS = f"{ADMIN}/training-jobs"
needs_faketime = pytest.mark.skipif(not shutil.which("faketime"), reason="no faketime (Debian's package)")


def wrong_clock(skew: str) -> dict[str, str]:
    """What makes a process see another time; waiting goes by the monotonic clock, which no machine sets."""
    library = subprocess.check_output(["faketime", "-f", skew, "printenv", "LD_PRELOAD"], text=True)
    return {"LD_PRELOAD": library.strip(), "FAKETIME": skew, "FAKETIME_DONT_FAKE_MONOTONIC": "1"}


@pytest.fixture
def job_id(world: World, shop: Shop) -> str:
    return str(shop.operator.post(JOBS, json=JOB).json()["id"])


@pytest.mark.parametrize("hours", [1, -1])
def test_leases_go_by_the_clock_of_the_database(
    world: World, job_id: str, hours: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    db = Database(world.settings["TRANSREC_DATABASE_URL"])
    wrong = now() + timedelta(hours=hours)
    monkeypatch.setattr("app.store.jobs.now", lambda: wrong)
    monkeypatch.setattr("app.store.db.now", lambda: wrong)
    with db.session() as s:
        assert abs(db_now(s) - now()) < timedelta(minutes=1)
        job = jobs.claim(s, job_id, "here", 60)
        assert job is not None and job.lease_expires_at is not None
        assert timedelta(0) < job.lease_expires_at - now() < timedelta(seconds=120)
        assert job_id not in jobs.claimable(s)
        jobs.heartbeat(s, job_id, "here", {}, -1)
        assert job_id in jobs.claimable(s)
        jobs.finish(s, job_id, "here", jobs.JobState.CANCELLED)
    db.dispose()


@needs_faketime
@pytest.mark.parametrize("skew", ["+1h", "-1h"])
def test_a_worker_whose_clock_is_wrong(
    world: World, shop: Shop, job_id: str, skew: str, tmp_path: Path, recovery: Recovery
) -> None:
    db = Database(world.settings["TRANSREC_DATABASE_URL"])
    with db.session() as s:
        assert jobs.claim(s, job_id, "another machine", 60)
    worker = Worker(world.settings | wrong_clock(skew), tmp_path / "log")
    try:
        worker.start()
        time.sleep(2)  # some polls
        held = shop.operator.get(f"{JOBS}/{job_id}").json()
        assert (held["state"], held["attempts"]) == ("RUNNING", 1)
        with db.session() as s:
            jobs.heartbeat(s, job_id, "another machine", {}, 0)  # its lease ends now
        with recovery(f"lease ended, taken over by a worker whose clock is off by {skew}"):
            wait_for(lambda: shop.operator.get(f"{JOBS}/{job_id}").json()["attempts"] == 2)
        wait_for(lambda: shop.operator.get(f"{JOBS}/{job_id}").json()["state"] == "SUCCEEDED")
    finally:
        worker.stop()
        db.dispose()
