"""Redis is killed, or hangs: all goes on over the database, and what was cached is made again."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import httpx
import pytest
import redis

from app.core.names import HISTORIES
from tests.app.api.conftest import Shop, send
from tests.faults.conftest import ADMIN, BOOKS, JOB, THINGS, Recovery, World, interactions, new_id, ranked
from tests.servers import Valkey, Worker, wait_for

HISTORY = THINGS.sequences["u1"]
GONE: dict[str, Callable[[Valkey], AbstractContextManager[None]]] = {
    "killed": Valkey.killed,
    "hangs": Valkey.hanging,
}


def job_state(shop: Shop, job_id: str) -> str:
    return str(shop.operator.get(f"{ADMIN}/training-jobs/{job_id}").json()["state"])


def reflects(reader: httpx.Client, user: str, history: list[str]) -> bool:
    """Whether a user's answer is that of this history."""
    return ranked(reader, user_id=user) == ranked(reader, history=history)


@pytest.mark.parametrize("how", GONE)
def test_redis_goes_and_comes_back(
    world: World, shop: Shop, how: str, tmp_path: Path, recovery: Recovery
) -> None:
    before = interactions(shop.reader)
    assert reflects(shop.reader, "u1", HISTORY)
    with GONE[how](world.valkey):
        assert reflects(shop.reader, "u1", HISTORY)
        assert reflects(shop.reader, "u2", THINGS.sequences["u2"])  # nobody has asked for it yet
        with recovery(f"Redis {how}, the first write"):
            send(shop.writer, "interactions", "user_id,item_id,timestamp\nu1,i20,100\n")
        assert interactions(shop.reader) == before + 1
        with recovery(f"Redis {how}, until that write is seen, by polling"):
            wait_for(lambda: reflects(shop.reader, "u1", [*HISTORY, "i20"]))
        answer = shop.operator.post(f"{ADMIN}/training-jobs", json=JOB)
        assert answer.status_code == 202, answer.text
        job_id = answer.json()["id"]
        assert job_state(shop, job_id) == "PENDING"
        worker = Worker(world.settings, tmp_path / "worker.log").start()
        try:
            with recovery(f"Redis {how}, until a job without a message has been trained"):
                wait_for(lambda: job_state(shop, job_id) not in ("PENDING", "RUNNING"))
            assert job_state(shop, job_id) == "SUCCEEDED"
            wait_for(lambda: shop.reader.get(BOOKS).json()["serving"]["release"]["version"] == 1)
        finally:
            worker.stop()
    with redis.Redis.from_url(world.valkey.url) as client:
        if how == "killed":
            assert client.keys(f"{HISTORIES}:*") == []
        with recovery(f"Redis {how}, until histories come from it again"):
            send(shop.writer, "interactions", "user_id,item_id,timestamp\nu1,i21,101\n")
            wait_for(lambda: reflects(shop.reader, "u1", [*HISTORY, "i20", "i21"]))
            wait_for(lambda: ranked(shop.reader, user_id=new_id()) and client.keys(f"{HISTORIES}:*"))
    assert reflects(shop.reader, "u2", THINGS.sequences["u2"])
    assert interactions(shop.reader) == before + 2
