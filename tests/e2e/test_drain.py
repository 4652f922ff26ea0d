"""A stop under load: `transrec serve` as its own process, a SIGTERM, and what its clients see of it."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pytest
from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families

from app.store import jobs
from app.store.db import Database
from tests.fakes import build_backbone
from tests.training.conftest import chains
from training.demo import Api, free_port, load_channel, wait_until_ready
from training.sources import Source

OPERATOR = "tr_operator-of-the-platform"
TENANT = {"tenant": "shop"}
PATH = "/v1/channels/things/recommendations"
HISTORY = [f"i{n:02d}" for n in range(3, 9)]
FIT = {"learning_rate": 5e-3, "batch_users": 16, "max_epochs": 500, "patience": 500, "checkpoint_seconds": 0}
DRAIN = 4


@dataclass
class Running:
    """A service with a channel `things` of tenant `shop`."""

    url: str
    process: subprocess.Popen[bytes]
    log: Path

    def ask(self, client: httpx.Client) -> httpx.Response:
        return client.post(f"{self.url}{PATH}", params=TENANT, json={"history": HISTORY, "count": 5})

    def client(self) -> httpx.Client:
        return httpx.Client(headers={"Authorization": f"Bearer {OPERATOR}"}, timeout=30)


@contextmanager
def serving(tmp_path: Path, *options: str, **settings: str) -> Iterator[Running]:
    build_backbone(tmp_path / "backbone")
    home, port = tmp_path / "home", free_port()
    home.mkdir()
    environment = os.environ | {
        "TRANSREC_HOME": str(home),
        "TRANSREC_BACKBONE": str(tmp_path / "backbone"),
        "TRANSREC_OPERATOR_KEY": OPERATOR,
        "TRANSREC_DRAIN_SECONDS": str(DRAIN),
        **settings,
    }
    command = [sys.executable, "-m", "app.cli", "serve", "--port", str(port), *options]
    url, log = f"http://127.0.0.1:{port}", tmp_path / "service.log"
    with log.open("wb") as file:
        process = subprocess.Popen(command, env=environment, stdout=file, stderr=file)
    try:
        wait_until_ready(url, process, log)
        with Api(url, OPERATOR) as operator:
            operator("POST", "/v1/admin/tenants", json={"name": "shop"})
            load_channel(operator, "shop", "things", Source("things", *chains(), {}))
        wait_until_ready(url, process, log)
        yield Running(url, process, log)
    finally:
        process.terminate()
        process.terminate()
        process.wait(60)


@dataclass
class Load:
    """Clients with keep-alive connections that ask until they are told to stop, as behind a proxy."""

    service: Running
    answers: list[httpx.Response] = field(default_factory=list)
    errors: list[Exception] = field(default_factory=list)
    stop: threading.Event = field(default_factory=threading.Event)

    def run(self) -> None:
        with self.service.client() as client:
            while not self.stop.is_set():
                try:
                    self.answers.append(self.service.ask(client))
                except httpx.HTTPError as error:
                    self.errors.append(error)


@contextmanager
def under_load(service: Running, clients: int = 4) -> Iterator[Load]:
    load = Load(service)
    threads = [threading.Thread(target=load.run) for _ in range(clients)]
    for thread in threads:
        thread.start()
    try:
        yield load
    finally:
        load.stop.set()
        for thread in threads:
            thread.join()


def until_draining(service: Running) -> None:
    """As a proxy looks: until the service says that it is going."""
    end = time.monotonic() + DRAIN
    while True:
        answer = httpx.get(f"{service.url}/health/ready")
        if answer.status_code == 503 and answer.json().get("reason") == "draining":
            return
        assert time.monotonic() < end, "never said that it drains"
        time.sleep(0.05)


def slow_upload(service: Running, seconds: float, done: list[httpx.Response]) -> threading.Thread:
    def lines() -> Iterator[bytes]:
        yield b"item_id,text\n"
        for n in range(20):
            time.sleep(seconds / 20)
            yield f"slow{n},a slow thing {n}\n".encode()

    def run() -> None:
        with service.client() as client:
            path, params = "/v1/channels/things/imports", {**TENANT, "kind": "items", "format": "csv"}
            with suppress(httpx.TransportError):  # of a server that ends at once
                done.append(client.post(f"{service.url}{path}", params=params, content=lines()))

    thread = threading.Thread(target=run)
    thread.start()
    return thread


def test_a_stop_loses_no_answer_and_checkpoints_the_job(tmp_path: Path, database_url: str) -> None:
    with ExitStack() as stack:
        service = stack.enter_context(serving(tmp_path, TRANSREC_DATABASE_URL=database_url))
        with Api(service.url, OPERATOR) as operator:
            config = {"adapter": {"bottleneck": 8, "user_bottleneck": 8}, "fit": FIT}
            path = "/v1/admin/channels/things/training-jobs"
            job_id = operator("POST", path, params=TENANT, json=config)["id"]
            while not operator("GET", f"{path}/{job_id}", params=TENANT)["progress"].get("curve"):
                time.sleep(0.1)
        uploaded: list[httpx.Response] = []
        upload = slow_upload(service, DRAIN + 4, uploaded)
        with under_load(service) as load:
            time.sleep(1)
            service.process.send_signal(signal.SIGTERM)
            until_draining(service)
            time.sleep(1)  # a proxy that looks once a second
        assert not load.errors, load.errors
        assert {answer.status_code for answer in load.answers} == {200}
        assert any(answer.headers.get("connection") == "close" for answer in load.answers)
        with pytest.raises(httpx.ConnectError):
            for _ in range(100):
                httpx.get(f"{service.url}/health/live")
                time.sleep(0.1)
        assert not uploaded  # still under way, though nobody listens any more
        upload.join()
        assert uploaded[0].status_code == 201, uploaded[0].text
        assert service.process.wait(60) == 0, service.log.read_text()[-3000:]
    database = Database(database_url)
    with database.read() as s:
        assert jobs.claimable(s) == [job_id]  # given back
        assert jobs.load_checkpoint(s, job_id) is not None
    database.dispose()


def scraped(service: Running) -> dict[str, Metric]:
    text = httpx.get(f"{service.url}/metrics").text
    return {family.name: family for family in text_string_to_metric_families(text)}


def live(service: Running) -> dict[str, float]:
    """Channels that answer, by process."""
    samples = scraped(service)["transrec_releases_live"].samples
    return {sample.labels["process"]: sample.value for sample in samples}


def test_several_processes_drain_and_a_scrape_sees_them_all(tmp_path: Path) -> None:
    with serving(tmp_path, "--workers", "2", "--no-worker") as service:
        end = time.monotonic() + 60
        while live(service) != {"0": 1, "1": 1}:  # one is ready, the other may still be starting
            assert time.monotonic() < end, live(service)
            time.sleep(0.2)
        with service.client() as client:
            for _ in range(40):
                assert service.ask(client).status_code == 200
        for _ in range(3):  # whichever process answers
            assert live(service) == {"0": 1, "1": 1}
            counted = scraped(service)["transrec_recommendations"].samples
            assert sum(sample.value for sample in counted if sample.name.endswith("_total")) == 40
        with under_load(service) as load:
            time.sleep(0.5)
            service.process.send_signal(signal.SIGTERM)
            until_draining(service)
            time.sleep(1)
        assert not load.errors, load.errors
        assert {answer.status_code for answer in load.answers} == {200}
        assert service.process.wait(60) == 0, service.log.read_text()[-3000:]


@pytest.mark.parametrize("options", [(), ("--workers", "2")], ids=["one", "two"])
def test_a_second_signal_ends_at_once(tmp_path: Path, options: tuple[str, ...]) -> None:
    with serving(tmp_path, *options, TRANSREC_DRAIN_SECONDS="300") as service:
        upload = slow_upload(service, 60, [])
        time.sleep(0.5)
        service.process.send_signal(signal.SIGTERM)
        until_draining(service)
        started = time.monotonic()
        service.process.send_signal(signal.SIGTERM)
        assert service.process.wait(30) == 0, service.log.read_text()[-3000:]
        assert time.monotonic() - started < 10
        upload.join()
