"""The demo: a real retailer's departments as channels, over HTTP, as any client would do it."""

import csv
import io
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from app.core.errors import TransRecError, Unavailable
from training.sources import Source, read_retail

MAIN, OTHER = "grocer", "corner-shop"
CHANNELS = {"pastry": "PASTRY", "deli": "DELI"}
OTHER_CHANNEL, OTHER_DEPARTMENT = "cosmetics", "COSMETICS"
TRAINED = "pastry"
console = Console()


class Api:
    """A thin client: every answer that is not a success ends the demo with its own words."""

    def __init__(self, url: str, key: str) -> None:
        self.http = httpx.Client(base_url=url, headers={"Authorization": f"Bearer {key}"}, timeout=600)

    def __enter__(self) -> "Api":
        return self

    def __exit__(self, *_: object) -> None:
        self.http.close()

    def __call__(self, method: str, path: str, **options: Any) -> Any:
        """Send, check, parse."""
        answer = self.http.request(method, path, **options)
        if answer.is_error:
            raise TransRecError(f"{method} {path}: {answer.status_code} {answer.text}")
        return answer.json()


def run(port: int, home: Path, seconds: int, leave: bool) -> None:
    """The whole story; leaves the service up unless `leave`."""
    console.rule("TransRec Serve demo")
    console.print(
        "Starts the service (API, worker, SQLite, Valkey), loads a retailer's departments, recommends with "
        f"the bare backbone, trains one adapter (at most {seconds} s) and swaps it in: about "
        f"{seconds // 60 + 1} minutes."
    )
    shutil.rmtree(home, ignore_errors=True)
    home.mkdir(parents=True)
    port = port or free_port()
    operator = "tr_" + secrets.token_urlsafe(32)
    with service(home, port, operator) as url, Api(url, operator) as api:
        keys = load_data(api)
        show_isolation(url, keys)
        with Api(url, keys[MAIN]) as reader:
            tell(api, reader, seconds)
        console.print(
            f"\nOpen [bold]{url}/admin[/], the console, and sign in with the operator's key: {operator}"
        )
        console.print(f"The API is described at [bold]{url}/docs[/]; a key to read '{MAIN}': {keys[MAIN]}")
        if not leave:
            console.print("The service stays up; Ctrl-C ends it.")
            wait_for_interrupt()


def tell(api: Api, reader: Api, seconds: int) -> None:
    """Zero-shot answer, training, measured gain, the answer after the swap."""
    household = pick_household()
    show(recommend(reader, household), f"Zero-shot: the bare backbone for household {household}")
    job = train(api, seconds)
    show_metrics(job)
    after = wait_for_swap(reader, household, job)
    show(after, f"After the swap: release {after['release']['version']} for household {household}")


def free_port() -> int:
    """A port nobody listens on now."""
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return int(s.getsockname()[1])


@contextmanager
def service(home: Path, port: int, operator_key: str) -> Iterator[str]:
    """`transrec serve` as a child process, ready; its log is in the home."""
    environment = os.environ | {"TRANSREC_HOME": str(home), "TRANSREC_OPERATOR_KEY": operator_key}
    command = [sys.executable, "-m", "app.cli", "serve", "--port", str(port)]
    url = f"http://127.0.0.1:{port}"
    with (home / "service.log").open("wb") as log:
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=log)  # noqa: S603
        try:
            with console.status("Starting the service ..."):
                wait_until_ready(url, process, home / "service.log")
            console.print(f"Service ready at {url} (log: {home / 'service.log'})")
            yield url
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(timeout=60)


def wait_until_ready(url: str, process: subprocess.Popen[bytes], log: Path, limit: float = 180) -> None:
    """Poll /health/ready; raises `Unavailable` with the log's end when the service dies or hangs."""
    end = time.monotonic() + limit
    while time.monotonic() < end and process.poll() is None:
        try:
            if httpx.get(f"{url}/health/ready", timeout=5).is_success:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.3)
    raise Unavailable(f"The service did not start. The end of {log}:\n{log.read_text()[-2000:]}")


def load_data(api: Api) -> dict[str, str]:
    """Tenants, keys, channels, items and interactions; returns the reader keys by tenant."""
    keys = {}
    for tenant in (MAIN, OTHER):
        api("POST", "/v1/admin/tenants", json={"name": tenant})
        key = api("POST", f"/v1/admin/tenants/{tenant}/keys", json={"role": "reader", "label": "demo"})
        keys[tenant] = key["secret"]
    plan = [(MAIN, c, d) for c, d in CHANNELS.items()] + [(OTHER, OTHER_CHANNEL, OTHER_DEPARTMENT)]
    for tenant, channel, department in plan:
        with console.status(f"Loading and encoding {department} as {tenant}/{channel} ..."):
            report = load_channel(api, tenant, channel, read_retail(department))
        console.print(f"  {tenant}/{channel}: {report}")
    return keys


def load_channel(api: Api, tenant: str, channel: str, source: Source) -> str:
    """Create one channel and upload its two files."""
    api("POST", "/v1/admin/channels", params={"tenant": tenant}, json={"name": channel})
    counts = {}
    for kind, text in (("items", items_csv(source)), ("interactions", interactions_csv(source))):
        options = {"tenant": tenant, "kind": kind, "format": "csv"}
        report = api("POST", f"/v1/channels/{channel}/imports", params=options, content=text.encode())
        counts[kind] = report["inserted"]
    wait_until_served(api, tenant, channel)
    return ", ".join(f"{n:,} {kind}" for kind, n in counts.items())


def wait_until_served(api: Api, tenant: str, channel: str, limit: float = 300) -> None:
    """Until what was imported is encoded and answers."""
    end = time.monotonic() + limit
    while time.monotonic() < end:
        found = api("GET", f"/v1/channels/{channel}", params={"tenant": tenant})
        if found["serving"]["generation"] == found["generation"]:
            return
        time.sleep(0.2)
    raise Unavailable(f"Channel '{channel}' was not encoded in time; see the service's log.")


def items_csv(source: Source) -> str:
    """item_id,text."""
    return to_csv(["item_id", "text"], source.items.items())


def interactions_csv(source: Source) -> str:
    """user_id,item_id,timestamp: seconds since 1970, or the place in the sequence where times are unknown."""
    rows = (
        (user, item, source.times[user][i] if source.times else i)
        for user, items in source.sequences.items()
        for i, item in enumerate(items)
    )
    return to_csv(["user_id", "item_id", "timestamp"], rows)


def to_csv(header: list[str], rows: Any) -> str:
    """Any rows as CSV text."""
    out = io.StringIO()
    writer = csv.writer(out)
    writer.writerow(header)
    writer.writerows(rows)
    return out.getvalue()


def show_isolation(url: str, keys: dict[str, str]) -> None:
    """The second tenant's key does not even learn that the first one's channel exists."""
    answer = httpx.get(f"{url}/v1/channels/{TRAINED}", headers={"Authorization": f"Bearer {keys[OTHER]}"})
    console.print(f"Isolation: '{OTHER}' asks for '{MAIN}'s channel '{TRAINED}' -> {answer.status_code}")


def pick_household() -> str:
    """Somebody with a history of middling length."""
    sequences = read_retail(CHANNELS[TRAINED]).sequences
    return next(user for user, items in sequences.items() if 12 <= len(items) <= 20)


def recommend(reader: Api, household: str) -> Any:
    """Five products for the household."""
    path = f"/v1/channels/{TRAINED}/recommendations"
    return reader("POST", path, json={"user_id": household, "count": 5})


def show(answer: Any, title: str) -> None:
    """Titles and scores."""
    table = Table(title=title, title_justify="left")
    for column in ("item", "title", "score", "reason"):
        table.add_column(column)
    for item in answer["items"]:
        table.add_row(item["item_id"], item["metadata"]["text"], f"{item['score']:.3f}", item["reason"])
    console.print(table)


def train(api: Api, seconds: int) -> Any:
    """Start the job and follow it; returns the finished job."""
    options = {"tenant": MAIN}
    path = f"/v1/admin/channels/{TRAINED}/training-jobs"
    job = api("POST", path, params=options, json={"fit": {"max_seconds": seconds}})
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.fields[note]}"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console) as progress:
        bar = progress.add_task(f"Training {TRAINED}", total=seconds, note="waiting for the worker")
        while job["state"] in ("PENDING", "RUNNING"):
            time.sleep(1)
            job = api("GET", f"{path}/{job['id']}", params=options)
            done = job["progress"].get("seconds", 0)
            progress.update(bar, completed=done, note=describe(job["progress"]))
        progress.update(bar, completed=seconds, note=job["state"])
    if job["state"] not in ("SUCCEEDED", "REJECTED"):
        raise TransRecError(f"The training job ended {job['state']}: {job['error']}")
    return job


def describe(progress: dict[str, Any]) -> str:
    """One line of a job's progress."""
    if progress.get("phase") not in ("warming up", "training") or "epoch" not in progress:
        return str(progress.get("phase", "waiting for the worker"))
    curve = progress["curve"]
    hr10 = f", validation HR@10 {curve[-1]['hr10']:.4f}" if curve else ""
    return (
        f"epoch {progress['epoch']} step {progress['step']}/{progress['steps']} loss {progress['loss']}{hr10}"
    )


def show_metrics(job: Any) -> None:
    """HR@10 and NDCG@10 on the held-out last purchases, before and after, beside popularity."""
    table = Table(title=f"Test split of {TRAINED}, every product ranked", title_justify="left")
    for column in ("", "HR@10", "NDCG@10"):
        table.add_column(column)
    rows = {
        "popularity": "popularity",
        "before (zero-shot)": "zero_shot",
        "after (the adapter)": "adapter",
    }
    for label, name in rows.items():
        m = job["result"]["test"][name]
        table.add_row(
            label, f"{m['hr10']:.4f} ± {m['hr10_se']:.4f}", f"{m['ndcg10']:.4f} ± {m['ndcg10_se']:.4f}"
        )
    console.print(table)
    console.print(f"Gate: {job['state']} - {job['result']['gate']['reason']}")


def wait_for_swap(reader: Api, household: str, job: Any, limit: float = 60) -> Any:
    """Ask until the new release answers; at once when the gate refused it."""
    started, answer = time.monotonic(), recommend(reader, household)
    while job["state"] == "SUCCEEDED" and answer["release"]["version"] != job["adapter_version"]:
        if time.monotonic() - started > limit:
            raise Unavailable("The new release did not answer in time; see the service's log.")
        time.sleep(0.05)
        answer = recommend(reader, household)
    console.print(f"Hot swap: release {answer['release']['version']} answers, without a restart.")
    return answer


def wait_for_interrupt() -> None:
    """Until Ctrl-C or SIGTERM."""
    try:
        signal.pause()
    except KeyboardInterrupt:
        console.print("Stopping ...")
