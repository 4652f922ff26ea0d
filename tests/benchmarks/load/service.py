"""The service as a child process, and what its processes hold in memory."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from app.core.errors import Unavailable
from tests.benchmarks.load.client import closed_loop
from tests.benchmarks.load.connection import Request, ask
from tests.benchmarks.load.population import Population
from tests.benchmarks.load.progress import Steps, say
from training.demo import free_port, wait_until_ready

START_SECONDS = 1800.0
WARM_SECONDS = 120.0
LOADING = (429, 503)  # answers of a channel that is not there yet


@dataclass(frozen=True)
class Service:
    """A running service and what it serves."""

    port: int
    pid: int
    population: Population


@contextmanager
def serving(
    population: Population, workers: int = 1, settings: Mapping[str, str] | None = None
) -> Iterator[Service]:
    """`transrec serve` without a training worker, ready; its log is in the home."""
    port, log = free_port(), population.home / "service.log"
    own = {"TRANSREC_HOME": str(population.home), "TRANSREC_LOG_LEVEL": "WARNING"}
    command = [sys.executable, "-m", "app.cli", "serve", "--no-worker"]
    command += ["--port", str(port), "--workers", str(workers)]
    say(f"starting the service on {population.spec.name}")
    with log.open("ab") as out:
        process = subprocess.Popen(
            command, env={**os.environ, **own, **(settings or {})}, stdout=out, stderr=out
        )
        try:
            wait_until_ready(f"http://127.0.0.1:{port}", process, log, START_SECONDS)
            yield Service(port, process.pid, population)
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(timeout=60)


async def warm(service: Service, requests: Sequence[Request]) -> None:
    """Ask each until it is answered: releases may be loaded only then. Then a block that is not measured."""
    steps = Steps(f"warming up, {len(requests):,} requests", len(requests))
    for number in steps:
        for _ in range(int(WARM_SECONDS / 0.1)):
            status, body = await ask(service.port, requests[number])
            if status not in LOADING:
                break
            await asyncio.sleep(0.1)
        if status != 200:
            raise Unavailable(f"The service goes on answering {status}: {body[:300].decode()}")
    await closed_loop(service.port, requests, 16, 1.0)


@dataclass(frozen=True)
class Memory:
    """Bytes of a process and all its children. `pss`: what processes share is counted once."""

    rss: int
    pss: int
    anonymous: int  # of pss
    file_backed: int  # of pss
    processes: int

    def __str__(self) -> str:
        gb = [f"{n / 1e9:.2f}" for n in (self.rss, self.pss, self.anonymous, self.file_backed)]
        return (
            f"{self.processes} processes: RSS {gb[0]} GB, PSS {gb[1]} GB "
            f"(anonymous {gb[2]}, file-backed {gb[3]})"
        )


def memory(pid: int) -> Memory:
    """Of a process and its children, from /proc."""
    fields = [_rollup(member) for member in _tree(pid)]
    rss, pss, anonymous, mapped = (
        sum(each.get(name, 0) for each in fields) for name in ("Rss", "Pss", "Pss_Anon", "Pss_File")
    )
    return Memory(rss, pss, anonymous, mapped, len(fields))


def _rollup(pid: int) -> dict[str, int]:
    lines = [line.split() for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]]
    return {words[0].rstrip(":"): int(words[1]) * 1024 for words in lines}


def _tree(pid: int) -> list[int]:
    children: dict[int, list[int]] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            after_name = stat.read_text().rpartition(")")[2].split()
        except OSError:  # it has just ended
            continue
        children.setdefault(int(after_name[1]), []).append(int(stat.parent.name))
    found = [pid]
    for member in found:  # grows while it is walked
        found += children.get(member, [])
    return found
