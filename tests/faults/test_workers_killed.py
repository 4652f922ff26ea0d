"""A worker is killed at each stage of a job: another one takes it over, and it is done exactly once."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.app.api.conftest import Shop, serves
from tests.faults.conftest import ADMIN, JOB, Recovery, World
from tests.faults.dying_worker import PLACES
from tests.servers import Worker, paused, wait_for

JOBS = f"{ADMIN}/training-jobs"


@pytest.fixture(scope="module")
def healthy(world: World, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Worker]:
    """A worker that lives; it is asleep while the other one takes a job and dies."""
    worker = Worker(world.settings, tmp_path_factory.mktemp("healthy") / "log").start()
    yield worker
    worker.stop()


def job(shop: Shop, job_id: str) -> dict[str, Any]:
    found: dict[str, Any] = shop.operator.get(f"{JOBS}/{job_id}").json()
    return found


@pytest.mark.parametrize("place", PLACES)
def test_a_killed_worker_is_replaced(
    world: World, shop: Shop, healthy: Worker, place: str, tmp_path: Path, recovery: Recovery
) -> None:
    dying = Worker(world.settings | {"FAULT_AT": place}, tmp_path / "log", "tests.faults.dying_worker")
    with paused(healthy.pid):
        dying.start()
        job_id = shop.operator.post(JOBS, json=JOB).json()["id"]
        assert dying.process is not None
        assert dying.process.wait(60) == -9, dying.log.read_text()[-3000:]
        killed = job(shop, job_id)
        assert (killed["state"], killed["attempts"]) == (
            "SUCCEEDED" if place == "published" else "RUNNING",
            1,
        )
    with recovery(f"worker killed ({place}), until the job is done and its release answers"):
        wait_for(lambda: job(shop, job_id)["state"] not in ("PENDING", "RUNNING"))
        done = job(shop, job_id)
        assert done["state"] == "SUCCEEDED", done
        wait_for(lambda: serves(shop.reader, 1))
    assert done["attempts"] == (1 if place == "published" else 2)
    assert done["adapter_version"] == 1
    assert [point["epoch"] for point in done["result"]["curve"]] == list(range(8))
    assert [a["version"] for a in shop.operator.get(f"{ADMIN}/adapters").json()] == [1]
    assert [m["to_version"] for m in shop.operator.get(f"{ADMIN}/releases/history").json()] == [1]
