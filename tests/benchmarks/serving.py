"""Latency and throughput of one recommendation, beside an empty handler of the same app in the same run,
and what a swap costs: seconds from promote to the first answer, failed and mixed answers under load.

python -m tests.benchmarks.serving [--seconds 5] [--rounds 3] [--connections 4] [--swaps 20]
"""

import argparse
import http.client
import json
import secrets
import statistics
import tempfile
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import torch

from app.model.adapters import attach, extract
from app.model.backbone import load_backbone
from app.model.checkpoint import adapter_to_bytes
from app.model.methods import AdapterConfig
from training.demo import MAIN, TRAINED, Api, free_port, load_data, service
from training.sources import read_retail

PATH = f"/v1/channels/{TRAINED}/recommendations"
RELEASES = f"/v1/admin/channels/{TRAINED}/releases"


@dataclass(frozen=True)
class Load:
    """What one block of requests saw: seconds of each, failures, wall time."""

    latencies: list[float]
    failed: int
    seconds: float

    def line(self, name: str) -> str:
        """One row of the table."""
        cuts = statistics.quantiles(self.latencies, n=100)
        p50, p99 = cuts[49] * 1e3, cuts[98] * 1e3
        rate = len(self.latencies) / self.seconds
        return f"| {name} | {rate:,.0f} | {p50:.2f} | {p99:.2f} | {self.failed} |"


def blast(
    url: str, key: str, bodies: Sequence[bytes | None], path: str, seconds: float, connections: int
) -> Load:
    """Closed loop: each connection sends its next request when the last is answered."""
    latencies: list[float] = []
    failed: list[int] = []
    start = time.perf_counter()
    threads = [
        threading.Thread(
            target=_send, args=(url, key, bodies[i::connections], path, start + seconds, latencies, failed)
        )
        for i in range(connections)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return Load(latencies, len(failed), time.perf_counter() - start)


def _send(
    url: str,
    key: str,
    bodies: Sequence[bytes | None],
    path: str,
    end: float,
    latencies: list[float],
    failed: list[int],
) -> None:
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=60)
    headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
    number = 0
    while (before := time.perf_counter()) < end:
        body = bodies[number % len(bodies)]
        connection.request("GET" if body is None else "POST", path, body, headers)
        answer = connection.getresponse()
        answer.read()
        latencies.append(time.perf_counter() - before)
        if answer.status != 200:
            failed.append(answer.status)
        number += 1


def upload_adapters(api: Api) -> None:
    """Two versions that rank differently, near what training gives in size."""
    backbone, config = load_backbone("minilm-transrec"), AdapterConfig()
    for seed in (1, 2):
        torch.manual_seed(seed)
        weights = {
            name: tensor + 0.02 * torch.randn(tensor.shape)
            for name, tensor in extract(attach(backbone.model, config)).items()
        }
        data = adapter_to_bytes(weights, config, backbone.fingerprint)
        api("POST", f"/v1/admin/channels/{TRAINED}/adapters", params={"tenant": MAIN}, content=data)


def ask(reader: Api, body: dict[str, Any]) -> Any:
    """One recommendation."""
    return reader("POST", PATH, json=body)


def promote(api: Api, reader: Api, body: dict[str, Any], version: int) -> tuple[float, Any]:
    """Promote and wait; seconds from the call to the first answer of the version, and that answer."""
    start = time.perf_counter()
    api("POST", f"{RELEASES}/promote", params={"tenant": MAIN}, json={"version": version})
    while (answer := ask(reader, body))["release"]["version"] != version:
        if time.perf_counter() - start > 120:
            raise TimeoutError(f"version {version} never answered")
    return time.perf_counter() - start, answer


def swaps_under_load(api: Api, reader: Api, body: dict[str, Any], swaps: int, connections: int) -> str:
    """Promote two versions in turn while clients ask; every answer must be that of the release it names."""
    expected, first = {}, []
    for version in (1, 2):
        seconds, answer = promote(api, reader, body, version)
        first.append(seconds)
        expected[version] = [(i["item_id"], i["score"]) for i in answer["items"]]
    assert expected[1] != expected[2]  # else a mixed answer could not be told
    wrong, count, done = [0], [0], threading.Event()

    def client() -> None:
        own = Api(str(reader.http.base_url), reader.http.headers["Authorization"].removeprefix("Bearer "))
        while not done.is_set():
            answer = own.http.post(PATH, json=body)
            count[0] += 1
            if answer.status_code != 200:
                wrong[0] += 1
                continue
            found = answer.json()
            items = [(i["item_id"], i["score"]) for i in found["items"]]
            wrong[0] += items != expected[found["release"]["version"]]

    threads = [threading.Thread(target=client) for _ in range(connections)]
    for thread in threads:
        thread.start()
    times = [promote(api, reader, body, 1 + n % 2)[0] for n in range(swaps)]
    done.set()
    for thread in threads:
        thread.join()
    return (
        f"First promote of a version (2,149 items encoded): {first[0]:.2f} s, {first[1]:.2f} s. "
        f"{swaps} swaps under load, vectors stored: median {statistics.median(times):.3f} s, "
        f"worst {max(times):.3f} s; {count[0]} answers, {wrong[0]} failed or mixed."
    )


def main() -> None:
    """Start the demo's service, measure, print Markdown."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=5)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--connections", type=int, default=4)
    parser.add_argument("--swaps", type=int, default=20)
    args = parser.parse_args()
    operator = "tr_" + secrets.token_urlsafe(32)
    with tempfile.TemporaryDirectory() as folder, service(Path(folder), free_port(), operator) as url:
        api = Api(url, operator)
        reader_key = load_data(api)[MAIN]
        reader = Api(url, reader_key)
        sequences = list(read_retail("PASTRY").sequences.values())
        histories = [json.dumps({"history": s[-20:], "count": 10}).encode() for s in sequences[:500]]
        users = [
            json.dumps({"user_id": u, "count": 10}).encode()
            for u in list(read_retail("PASTRY").sequences)[:500]
        ]
        print("| | requests/s | p50 ms | p99 ms | failed |\n|---|---|---|---|---|")
        blocks: list[tuple[str, str, list[bytes | None]]] = [
            ("empty handler", "/health/empty", [None] * 8),
            ("by history", PATH, list(histories)),
            ("by user_id", PATH, list(users)),
        ]
        rates: dict[str, list[float]] = {name: [] for name, _, _ in blocks}
        for _ in range(args.rounds):
            for name, path, bodies in blocks:
                load = blast(url, reader_key, bodies, path, args.seconds, args.connections)
                rates[name].append(len(load.latencies) / load.seconds)
                print(load.line(name), flush=True)
        for name in ("by history", "by user_id"):
            pairs = zip(rates[name], rates["empty handler"], strict=True)
            ratio = statistics.median(own / empty for own, empty in pairs)
            print(f"{name}: {ratio:.2f} of the empty handler's requests/s (median of {args.rounds})")
        upload_adapters(api)
        print(swaps_under_load(api, reader, json.loads(histories[3]), args.swaps, 2))


if __name__ == "__main__":
    main()
