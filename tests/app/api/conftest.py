"""A real server on a socket, with the tiny backbone; each test has a tenant of its own."""

import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import httpx
import pytest
import uvicorn
from fastapi import FastAPI

from app.core.config import Settings
from app.main import create_app
from app.model.backbone import Backbone, load_backbone
from tests.fakes import build_backbone

OPERATOR = "tr_operator-of-the-platform"
ITEMS = "item_id,text,colour\n" + "".join(f"i{n},thing {n} of kind {n % 5},c{n % 3}\n" for n in range(30))
EVENTS = "user_id,item_id,timestamp\n" + "".join(f"u{n % 3},i{n % 10},{1000 + n}\n" for n in range(24))


@dataclass(frozen=True)
class Server:
    """A running server."""

    url: str
    app: FastAPI
    settings: Settings


@dataclass(frozen=True)
class Shop:
    """A tenant with a channel `books` of 30 items, whose release is loaded."""

    tenant: str
    operator: httpx.Client
    writer: httpx.Client
    reader: httpx.Client
    channel_id: str


@pytest.fixture(scope="session")
def backbone(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Backbone]:
    """The tiny backbone's folder, and the backbone."""
    directory = tmp_path_factory.mktemp("backbone")
    build_backbone(directory)
    return str(directory), load_backbone(str(directory))


@pytest.fixture(scope="session")
def image_backbone(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Backbone]:
    """The same for images: a tiny ViT's."""
    directory = tmp_path_factory.mktemp("image_backbone")
    build_backbone(directory, "vit")
    return str(directory), load_backbone(str(directory))


@pytest.fixture(scope="session")
def server(
    tmp_path_factory: pytest.TempPathFactory,
    valkey_server: str,
    backbone: tuple[str, Backbone],
    image_backbone: tuple[str, Backbone],
) -> Iterator[Server]:
    """The service on a free port, over SQLite and Valkey."""
    settings = Settings.model_validate(
        {
            "home": tmp_path_factory.mktemp("home"),
            "redis_url": valkey_server,
            "backbone": backbone[0],
            "image_backbone": image_backbone[0],
            "device": "cpu",
            "operator_key": OPERATOR,
            "max_upload_bytes": 100_000,
            "max_adapter_bytes": 1_000_000,
            "poll_seconds": 0.5,
        }
    )
    with running_app(settings) as found:
        yield found


@contextmanager
def running_app(settings: Settings) -> Iterator[Server]:
    """The service with these settings, on a free port, in a thread."""
    app = create_app(settings)
    config = uvicorn.Config(app, port=0, log_level="warning", ws="none", log_config=None)
    running = uvicorn.Server(config)
    thread = threading.Thread(target=running.run)
    thread.start()
    try:
        wait_for(lambda: running.started or not thread.is_alive(), 120)
        port = running.servers[0].sockets[0].getsockname()[1]
        yield Server(f"http://127.0.0.1:{port}", app, settings)
    finally:
        running.should_exit = True
        thread.join()


@pytest.fixture
def platform(server: Server) -> Iterator[httpx.Client]:
    """A client with the platform operator's key."""
    with client(server.url, OPERATOR) as opened:
        yield opened


@pytest.fixture
def shop(server: Server, platform: httpx.Client) -> Iterator[Shop]:
    """A new tenant, its keys, its channel and what is in it."""
    with new_shop(server.url, platform) as opened:
        yield opened


@contextmanager
def new_shop(
    url: str, platform: httpx.Client, items: str = ITEMS, interactions: str = EVENTS
) -> Iterator[Shop]:
    """The same at any server, with any rows."""
    tenant = f"t{uuid4().hex[:12]}"
    assert platform.post("/v1/admin/tenants", json={"name": tenant}).status_code == 201
    keys = [
        platform.post(f"/v1/admin/tenants/{tenant}/keys", json={"role": role}).json()["secret"]
        for role in ("operator", "writer", "reader")
    ]
    with ExitStack() as stack:
        operator, writer, reader = (stack.enter_context(client(url, key)) for key in keys)
        channel = operator.post("/v1/admin/channels", json={"name": "books"}).json()
        send(writer, "items", items)
        send(writer, "interactions", interactions)
        wait_for(lambda: serves(reader, 0, 2))
        yield Shop(tenant, operator, writer, reader, channel["id"])


@pytest.fixture
def second(server: Server, tmp_path: Path) -> Iterator[str]:
    """Another process on the same database, on a port of its own."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    settings = server.settings
    variables = {
        "TRANSREC_HOME": str(settings.home),
        "TRANSREC_REDIS_URL": settings.redis_url,
        "TRANSREC_BACKBONE": settings.backbone,
        "TRANSREC_DEVICE": "cpu",
    }
    command = [sys.executable, "-m", "uvicorn", "--factory", "app.main:app_factory", "--port", str(port)]
    with (tmp_path / "log").open("w") as log:
        process = subprocess.Popen(command, env={**os.environ, **variables}, stdout=log, stderr=log)
        try:
            url = f"http://127.0.0.1:{port}"
            wait_for(lambda: is_ready(url) or process.poll() is not None, 60)
            yield url
        finally:
            process.terminate()
            process.wait(20)


def is_ready(url: str) -> bool:
    try:
        return httpx.get(f"{url}/health/ready").status_code == 200
    except httpx.TransportError:
        return False


def client(url: str, key: str | None) -> httpx.Client:
    """A client of a server."""
    return httpx.Client(base_url=url, headers={"Authorization": f"Bearer {key}"} if key else {}, timeout=30)


def send(writer: httpx.Client, kind: str, csv: str) -> None:
    """Import CSV text."""
    answer = writer.post(f"/v1/channels/books/imports?kind={kind}&format=csv", content=csv.encode())
    assert answer.status_code == 201, answer.text


def serves(reader: httpx.Client, version: int, generation: int = 0) -> bool:
    """Whether the server answers with this version, of this generation or later."""
    serving = reader.get("/v1/channels/books").json()["serving"]
    release = serving["release"]
    return bool(release and release["version"] == version and serving["generation"] >= generation)


def wait_for(condition: Callable[[], object], seconds: float = 30) -> None:
    """Wait until the condition holds."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.05)


def is_problem(answer: httpx.Response, status: int) -> bool:
    """Whether it is problem details with that status and a remedy."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    body = answer.json()
    assert body["status"] == status
    assert body["title"]
    assert body["detail"]
    assert "Traceback" not in answer.text
    return True


def spare_file(tmp: Path) -> list[Path]:
    """Uploads that were left behind."""
    return list(tmp.glob("transrec-upload-*"))
