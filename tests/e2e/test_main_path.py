"""`transrec serve` as its own process: upload -> train -> swap -> recommend -> roll back, over HTTP."""

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.fakes import build_backbone
from tests.training.conftest import chains
from training.demo import Api, free_port, load_channel, service
from training.sources import Source

OPERATOR = "tr_operator-of-the-platform"
FIT = {"learning_rate": 5e-3, "batch_users": 16, "max_epochs": 40, "patience": 40}
CONFIG = {"adapter": {"bottleneck": 8, "user_bottleneck": 8}, "fit": FIT}
TENANT = {"tenant": "shop"}
HISTORY = [f"i{n:02d}" for n in range(3, 9)]


@dataclass(frozen=True)
class Running:
    """A service with a channel `things` in tenant `shop`, and a second tenant."""

    url: str
    operator: Api
    reader: Api
    stranger: str
    home: Path


@pytest.fixture
def running(tmp_path: Path, database_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Running]:
    build_backbone(tmp_path / "backbone")
    monkeypatch.setenv("TRANSREC_BACKBONE", str(tmp_path / "backbone"))
    monkeypatch.setenv("TRANSREC_DATABASE_URL", database_url)
    monkeypatch.setenv("TRANSREC_LEASE_SECONDS", "3")
    home = tmp_path / "home"
    home.mkdir()
    with ExitStack() as stack:
        url = stack.enter_context(service(home, free_port(), OPERATOR))
        operator = stack.enter_context(Api(url, OPERATOR))
        keys = {}
        for tenant in ("shop", "other"):
            operator("POST", "/v1/admin/tenants", json={"name": tenant})
            path = f"/v1/admin/tenants/{tenant}/keys"
            keys[tenant] = operator("POST", path, json={"role": "reader", "label": "test"})["secret"]
        load_channel(operator, "shop", "things", Source("things", *chains(), {}))
        reader = stack.enter_context(Api(url, keys["shop"]))
        yield Running(url, operator, reader, keys["other"], home)


def recommend(on: Running) -> Any:
    return on.reader("POST", "/v1/channels/things/recommendations", json={"history": HISTORY, "count": 5})


def until(condition: Callable[[], bool], seconds: float = 90) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.1)


def job(on: Running, job_id: str) -> Any:
    return on.operator("GET", f"/v1/admin/channels/things/training-jobs/{job_id}", params=TENANT)


def train(on: Running, config: dict[str, Any]) -> str:
    started = on.operator("POST", "/v1/admin/channels/things/training-jobs", params=TENANT, json=config)
    return str(started["id"])


def ended(on: Running, job_id: str) -> bool:
    return job(on, job_id)["state"] not in ("PENDING", "RUNNING")


def test_upload_train_swap_recommend_roll_back(running: Running) -> None:
    assert len(recommend(running)["items"]) == 5
    assert recommend(running)["release"]["version"] == 0
    job_id = train(running, CONFIG)
    until(lambda: ended(running, job_id))
    assert job(running, job_id)["state"] == "SUCCEEDED", job(running, job_id)
    until(lambda: recommend(running)["release"]["version"] == 1)
    after = recommend(running)
    assert "i09" in [item["item_id"] for item in after["items"]]  # who takes n takes n + 1
    assert not set(HISTORY) & {item["item_id"] for item in after["items"]}
    running.operator("POST", "/v1/admin/channels/things/releases/rollback", params=TENANT, json={})
    until(lambda: recommend(running)["release"]["version"] == 0)
    answer = httpx.get(
        f"{running.url}/v1/channels/things", headers={"Authorization": f"Bearer {running.stranger}"}
    )
    assert answer.status_code == 404


def test_a_killed_worker_is_replaced_and_the_job_goes_on(running: Running) -> None:
    job_id = train(
        running, {**CONFIG, "fit": FIT | {"max_epochs": 25, "patience": 25, "checkpoint_seconds": 0}}
    )
    until(lambda: len(job(running, job_id)["progress"].get("curve", [])) >= 2)
    for pid in worker_pids(running.home):
        os.kill(pid, signal.SIGKILL)
    until(lambda: ended(running, job_id))
    done = job(running, job_id)
    assert done["state"] == "SUCCEEDED", done
    assert done["attempts"] == 2
    assert [c["epoch"] for c in done["result"]["curve"]] == list(range(25))


def worker_pids(home: Path) -> list[int]:
    """The worker of this very service: its environment names the home."""
    found = subprocess.run(["pgrep", "-f", "training.worker"], capture_output=True, text=True, check=False)
    pids = [int(pid) for pid in found.stdout.split()]
    return [
        pid for pid in pids if f"TRANSREC_HOME={home}".encode() in Path(f"/proc/{pid}/environ").read_bytes()
    ]
