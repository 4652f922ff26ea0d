"""Two replicas of the service over one PostgreSQL and one Valkey, behind HAProxy as it is shipped.

HAProxy finds the replicas by DNS, as it does in docker-compose.yml; here dnsmasq answers.
"""

import csv
import getpass
import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pytest

from tests.app.api.conftest import wait_for

CONFIGURATION = Path(__file__).parent.parent.parent / "deploy/proxy/haproxy.cfg"
OPERATOR = "tr_operator-of-the-platform"
HOSTS = ["127.0.0.2", "127.0.0.3"]
ITEMS = "item_id,text\n" + "".join(f"i{n},thing number {n}\n" for n in range(20))


@dataclass
class Replica:
    """A `transrec serve` on an address of its own, that can be killed and started again."""

    host: str
    port: int
    home: Path
    environment: dict[str, str]
    process: subprocess.Popen[bytes] | None = field(default=None, init=False)

    @property
    def url(self) -> str:
        return f"http://{self.host}:{self.port}"

    def start(self) -> None:
        arguments = ["--no-worker", "--host", self.host, "--port", str(self.port)]
        command = [sys.executable, "-m", "app.cli", "serve", *arguments]
        with (self.home / "service.log").open("ab") as log:
            environment = self.environment | {"TRANSREC_HOME": str(self.home)}
            self.process = subprocess.Popen(command, env=environment, stdout=log, stderr=log)

    def ready(self) -> bool:
        assert self.process
        assert self.process.poll() is None, (self.home / "service.log").read_text()[-2000:]
        try:
            return httpx.get(f"{self.url}/health/ready", timeout=5).is_success
        except httpx.TransportError:
            return False

    def end(self, how: signal.Signals) -> None:
        if self.process and self.process.poll() is None:
            self.process.send_signal(how)
            self.process.wait(60)

    def model_process(self) -> int:
        """The process id of the model that it runs beside it."""
        assert self.process
        tasks = Path(f"/proc/{self.process.pid}/task").glob("*/children")
        (pid,) = {pid for task in tasks for pid in task.read_text().split()}
        return int(pid)


@dataclass(frozen=True)
class Site:
    """The replicas and the proxy in front of them, with a channel that recommends."""

    replicas: list[Replica]
    platform: httpx.Client
    database: str
    control: Path

    def up(self, backend: str) -> int:
        """How many servers of the backend HAProxy holds to be up."""
        return [row["status"] for row in self._servers(backend)].count("UP")

    def retries(self) -> int:
        """How many requests were sent to a second replica, or twice to one."""
        return sum(int(row["wredis"]) + int(row["wretr"]) for row in self._servers("ready"))

    def _servers(self, backend: str) -> list[dict[str, str]]:
        with socket.socket(socket.AF_UNIX) as s:
            s.connect(str(self.control))
            s.sendall(b"show stat\n")
            text = b"".join(iter(lambda: s.recv(65536), b"")).decode()
        rows = csv.DictReader(text.removeprefix("# ").splitlines())
        return [row for row in rows if row["pxname"] == backend and row["svname"] != "BACKEND"]


@pytest.fixture
def site(tmp_path: Path, postgres_url: str, valkey_url: str, backbone_folder: Path) -> Iterator[Site]:
    """A site whose proxy has found both replicas ready."""
    for tool in ("haproxy", "dnsmasq"):
        if shutil.which(tool) is None:
            pytest.skip(f"{tool} is not installed (Debian: haproxy, dnsmasq-base)")
    environment = os.environ | {
        "TRANSREC_DATABASE_URL": postgres_url,
        "TRANSREC_REDIS_URL": valkey_url,
        "TRANSREC_BACKBONE": str(backbone_folder),
        "TRANSREC_OPERATOR_KEY": OPERATOR,
        "TRANSREC_MAX_UPLOAD_BYTES": "1000000",
        "TRANSREC_POLL_SECONDS": "0.5",
    }
    port = free_port(HOSTS[0], socket.SOCK_STREAM)
    with ExitStack() as stack:
        replicas = []
        for host in HOSTS:
            (tmp_path / host).mkdir()
            replicas.append(Replica(host, port, tmp_path / host, dict(environment)))
            stack.callback(replicas[-1].end, signal.SIGTERM)
            replicas[-1].start()
        proxy = stack.enter_context(proxied(tmp_path, port))
        platform = stack.enter_context(client(proxy))
        wait_for(lambda: all(replica.ready() for replica in replicas), 120)
        make_channel(platform)
        wait_for(lambda: all(answers(replica.url) for replica in replicas), 60)
        running = Site(replicas, platform, postgres_url, tmp_path / "haproxy.sock")
        wait_for(lambda: running.up("ready") == 2, 30)
        yield running


@contextmanager
def proxied(folder: Path, port: int) -> Iterator[str]:
    """HAProxy, and a DNS server that knows `api` by the addresses of all replicas; yields the proxy's URL."""
    dns, listen = free_port("127.0.0.1", socket.SOCK_DGRAM), free_port("127.0.0.1", socket.SOCK_STREAM)
    (folder / "hosts").write_text("".join(f"{host} api\n" for host in HOSTS))
    names = ["dnsmasq", "--no-daemon", "--conf-file=/dev/null", "--no-resolv", "--no-hosts", f"--port={dns}"]
    names += ["--listen-address=127.0.0.1", "--bind-interfaces", f"--user={getpass.getuser()}"]
    names += [f"--addn-hosts={folder}/hosts"]
    (folder / "control.cfg").write_text(f"global\n    stats socket {folder}/haproxy.sock level admin\n")
    variables = {"DNS": f"127.0.0.1:{dns}", "LISTEN": f"127.0.0.1:{listen}", "API": f"api:{port}"}
    haproxy = ["haproxy", "-db", "-f", str(CONFIGURATION), "-f", str(folder / "control.cfg")]
    with child(names, folder / "dns.log"), child(haproxy, folder / "proxy.log", variables):
        yield f"http://127.0.0.1:{listen}"


@contextmanager
def child(command: list[str], log: Path, variables: dict[str, str] | None = None) -> Iterator[None]:
    """A process while the block runs."""
    with log.open("wb") as out:
        process = subprocess.Popen(command, env=os.environ | (variables or {}), stdout=out, stderr=out)
    try:
        yield
        assert process.poll() is None, log.read_text()
    finally:
        process.terminate()
        process.wait(30)


def client(url: str) -> httpx.Client:
    return httpx.Client(base_url=url, headers={"Authorization": f"Bearer {OPERATOR}"}, timeout=30)


def free_port(host: str, kind: socket.SocketKind) -> int:
    with socket.socket(type=kind) as s:
        s.bind((host, 0))
        return int(s.getsockname()[1])


def make_channel(platform: httpx.Client) -> None:
    """Through the proxy, once that answers."""
    wait_for(lambda: platform.get("/health/ready").is_success, 60)
    tenant = {"tenant": "shop"}
    assert platform.post("/v1/admin/tenants", json={"name": "shop"}).status_code == 201
    made = platform.post("/v1/admin/channels", params=tenant, json={"name": "things"})
    assert made.status_code == 201, made.text
    what = {"kind": "items", "format": "csv", **tenant}
    assert platform.post("/v1/channels/things/imports", params=what, content=ITEMS).is_success


def recommend(asked: httpx.Client) -> httpx.Response:
    """Five things, of a site or of one replica."""
    body = {"history": ["i1", "i2"], "count": 5}
    return asked.post("/v1/channels/things/recommendations", params={"tenant": "shop"}, json=body)


def answers(url: str) -> bool:
    with client(url) as direct:
        answer = recommend(direct)
    return answer.is_success and len(answer.json()["items"]) == 5
