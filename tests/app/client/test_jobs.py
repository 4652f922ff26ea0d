"""Jobs followed by the client: by server-sent events, and without them."""

import threading
import time
from collections.abc import Iterator

import anyio
import pytest

from app.api.schemas.jobs import JobOut
from app.client import ApiError, AsyncClient, Client
from app.core.rollout import Plan
from app.store import jobs
from app.store.jobs import JobState
from tests.app.api.conftest import OPERATOR, Server, Shop
from tests.app.client.flaky import Flaky


def work(server: Server, job_id: str) -> None:
    """What a worker writes into the database, some time after."""
    db = server.app.state.db
    with db.session() as s:
        jobs.claim(s, job_id, "w", 60)
    for loss in (0.5, 0.25):
        time.sleep(0.8)  # longer than the server looks
        with db.session() as s:
            jobs.heartbeat(s, job_id, "w", {"phase": "training", "loss": loss}, 60)
    time.sleep(0.8)
    with db.session() as s:
        jobs.finish(s, job_id, "w", JobState.FAILED, error="too little data")


@pytest.fixture
def at_work(server: Server, client: Client) -> Iterator[str]:
    """A job that a worker has begun; its id."""
    job_id = client.train("books").id
    thread = threading.Thread(target=work, args=(server, job_id))
    thread.start()
    yield job_id
    thread.join()


def test_a_job_is_made_as_asked(client: Client) -> None:
    made = client.train(
        "books",
        "lora",
        knobs={"rank": 4},
        fit={"max_epochs": 2},
        priority="high",
        as_challenger=Plan(share=0.1),
    )
    assert made.config["adapter"]["method"] == "lora" and made.config["adapter"]["rank"] == 4
    assert made.config["fit"] == {"max_epochs": 2}
    assert made.config["as_challenger"]["share"] == 0.1
    assert (made.priority, client.job("books", made.id).state) == ("high", "PENDING")
    assert client.cancel_job("books", made.id).state == "CANCELLED"
    assert [each.id for each in client.jobs("books")] == [made.id]


def test_wait_tells_each_change_and_returns_the_end(client: Client, at_work: str) -> None:
    seen: list[JobOut] = []
    ended = client.wait("books", at_work, seen.append)
    assert (ended.state, ended.error) == ("FAILED", "too little data")
    losses = list(dict.fromkeys(job.progress["loss"] for job in seen if "loss" in job.progress))
    assert losses in ([0.5, 0.25], [0.25])  # a busy server may look too late for the first
    assert seen[-1] == ended


def test_without_the_stream_it_asks_for_the_job(
    flaky: Flaky, server: Server, shop: Shop, client: Client, at_work: str
) -> None:
    flaky.plan.append("503 0")  # the stream; the answer after it is of the job itself
    with Client(flaky.url, OPERATOR, shop.tenant) as through:
        seen = [job.state for job in through.follow("books", at_work)]
    assert seen[0] in ("PENDING", "RUNNING") and seen[-1] == "FAILED"
    assert len(flaky.bodies) >= 3


def test_the_asynchronous_client_waits_too(server: Server, shop: Shop, at_work: str) -> None:
    async def run() -> None:
        async with AsyncClient(server.url, OPERATOR, shop.tenant) as client:
            assert (await client.wait("books", at_work)).state == "FAILED"

    anyio.run(run)


def test_an_unknown_job_is_a_404(client: Client) -> None:
    with pytest.raises(ApiError) as caught:
        client.wait("books", "job_x")
    assert caught.value.status == 404
