"""Following a training job by server-sent events, and the list of workers."""

import asyncio
import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from app.api import jobs as routes
from app.store import jobs, workers
from app.store.jobs import JobState
from tests.app.api.conftest import Server, Shop, is_problem, wait_for

JOBS = "/v1/admin/channels/books/training-jobs"


def events(answer: httpx.Response) -> Iterator[dict[str, Any]]:
    """The jobs that the events of a stream carry."""
    for line in answer.iter_lines():
        if line.startswith("data: "):
            yield json.loads(line.removeprefix("data: "))


def test_a_job_is_followed_to_its_end(server: Server, shop: Shop) -> None:
    db = server.app.state.db
    job_id = shop.operator.post(JOBS, json={"priority": "high"}).json()["id"]
    with shop.operator.stream("GET", f"{JOBS}/{job_id}/events") as answer:
        assert answer.status_code == 200
        assert answer.headers["content-type"].startswith("text/event-stream")
        found = events(answer)
        first = next(found)
        assert (first["id"], first["state"], first["priority"]) == (job_id, "PENDING", "high")
        with db.session() as s:
            jobs.claim(s, job_id, "w", 60)
            jobs.heartbeat(s, job_id, "w", {"phase": "training", "loss": 0.5}, 60)
        assert next(found)["progress"]["loss"] == 0.5
        with db.session() as s:
            jobs.finish(s, job_id, "w", JobState.FAILED, error="too little data")
        last = next(found)
        assert (last["state"], last["error"]) == ("FAILED", "too little data")
        assert list(found) == []  # the stream has ended


def test_an_unknown_job_is_not_followed(shop: Shop) -> None:
    assert is_problem(shop.operator.get(f"{JOBS}/job_x/events"), 404)


def test_so_many_streams_and_no_more(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(routes, "_streams", asyncio.Semaphore(1))
    path = f"{JOBS}/{shop.operator.post(JOBS).json()['id']}/events"
    with shop.operator.stream("GET", path) as first:
        found = events(first)  # dropped, it would close the stream
        next(found)
        assert is_problem(shop.operator.get(path), 429)
    wait_for(lambda: not routes._streams.locked())  # the client has gone, and so has its stream
    with shop.operator.stream("GET", path) as second:
        assert next(events(second))["state"] == "PENDING"


def test_workers_are_listed_for_the_platform(server: Server, platform: httpx.Client, shop: Shop) -> None:
    with server.app.state.db.session() as s:
        workers.seen(s, "w1", "cpu", "job_1")
    (worker,) = platform.get("/v1/admin/workers").json()
    assert (worker["name"], worker["job_id"], worker["alive"]) == ("w1", "job_1", True)
    assert is_problem(shop.operator.get("/v1/admin/workers"), 403)
