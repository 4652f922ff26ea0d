"""The model in a process of its own, so that Python's lock is not shared with the HTTP server.

A batch of the user encoder is some sixty small operations; in a thread beside a busy event loop each of them
waits for the lock, and both get half a core (docs/benchmarks.md). The server's side is `Ranker`; the other
side is `python -m app.serving.ranker`, which ends when its server does. Messages are a line of JSON and
numbers, over a socket pair that nobody else holds; what they name lies on disk, in folders that both sides
map into memory.
"""

import json
import logging
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import asdict
from functools import lru_cache, partial
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np

from app.core import log as logs
from app.core.config import Settings
from app.core.errors import Invalid, Unavailable
from app.model.backbone import load_backbone
from app.model.bank import Bank
from app.model.device import gpu_memory, keep_freed_memory, pick_device
from app.serving.attributes import AtMost
from app.serving.host import HostTier
from app.serving.rank import Query, Ranked, rank

log = logging.getLogger(__name__)
HANGS_SECONDS = 30.0  # a batch takes milliseconds: a process that is silent for so long is replaced
GPU_SECONDS = 1.0  # the GPU's memory is looked at no more often: that takes longer than a message
_ENDED = EOFError, OSError


class Ranker:
    """Ranks in the other process; one batch at a time."""

    def __init__(self, modality: str, backbone: str, settings: Settings) -> None:
        self.modality = modality
        self._options = {
            "backbone": backbone,
            "device": settings.device,
            "device_adapter_bytes": settings.device_adapter_bytes,
            "host_bytes": settings.resolved_host_bytes,
            "log_level": settings.log_level,
        }
        self.stats: dict[str, Any] = {}
        self._process: subprocess.Popen[bytes] | None = None
        self._connection: Connection | None = None
        self._stopping = False
        self._starting = threading.Lock()

    def start(self) -> None:
        """Start the process and wait until it has loaded the model."""
        ours, theirs = socket.socketpair()
        with theirs:
            threads = str(max(1, (os.cpu_count() or 1) // 4))  # the operations are too small to share
            self._process = subprocess.Popen(  # noqa: S603 - our own command
                [sys.executable, "-m", __name__, str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                env={**os.environ, "OMP_NUM_THREADS": threads},
                start_new_session=True,  # Ctrl-C reaches the server alone, which ends this one in order
            )
        connection = Connection(ours.detach())
        connection.send_bytes(json.dumps(self._options).encode())
        self.stats = json.loads(connection.recv_bytes())
        self._connection = connection
        threading.Thread(target=self._watch, args=(self._process,), name="ranker-watch", daemon=True).start()

    @property
    def running(self) -> bool:
        """Whether the process is there."""
        return self._connection is not None

    @property
    def pid(self) -> int | None:
        """The process's id; None while there is none."""
        return self._process.pid if self._process and self.running else None

    def stop(self) -> None:
        """End the process."""
        with self._starting:
            self._stopping = True
            if self._connection:
                self._connection.close()  # the other side sees the end
            if self._process:
                self._process.wait()

    def rank(self, queries: Sequence[Query]) -> Sequence[Ranked]:
        """The best items of each query; raises `Unavailable` while the process is away."""
        process, connection = self._process, self._connection
        if process is None or connection is None:
            raise self._away()
        try:
            connection.send_bytes(_encode(queries))
            if not connection.poll(HANGS_SECONDS):
                raise EOFError
            answer = connection.recv_bytes()
        except _ENDED as error:
            connection.close()  # a late answer must not be taken for the next one's
            self._restart(process)
            raise self._away() from error
        return self._decode(answer)

    def _watch(self, process: subprocess.Popen[bytes]) -> None:
        process.wait()  # also when nobody asks anything, for then nobody would notice
        self._restart(process)

    def _restart(self, lost: subprocess.Popen[bytes]) -> None:
        threading.Thread(target=self._start_again, args=(lost,), name="ranker", daemon=True).start()

    def _start_again(self, lost: subprocess.Popen[bytes]) -> None:
        with self._starting:
            if self._stopping or lost is not self._process:  # others may have noticed, too
                return
            self._connection = None
            log.error("the %s model's process has ended; starting another one", self.modality)
            lost.kill()
            lost.wait()
            try:
                self.start()
            except _ENDED:
                log.exception("the %s model's process did not start", self.modality)
                threading.Timer(5, self._restart, [self._process]).start()

    def _away(self) -> Unavailable:
        return Unavailable("The model's process is being started; try again shortly.", retry_after=3)

    def _decode(self, answer: bytes) -> list[Ranked]:
        line, _, numbers = answer.partition(b"\n")
        header = json.loads(line)
        if "damaged" in header:
            raise Unavailable(f"A release cannot be opened: {header['damaged']}", retry_after=2)
        if "error" in header:
            raise RuntimeError(header["error"])
        self.stats = header["stats"]
        total = sum(header["found"])
        rows = np.frombuffer(numbers, np.int32, total).tolist()
        scores = np.frombuffer(numbers, np.float32, total, offset=4 * total).tolist()
        answers, start = [], 0
        for count in header["found"]:
            answers.append([*zip(rows[start : start + count], scores[start : start + count], strict=True)])
            start += count
        return answers


def _encode(queries: Sequence[Query]) -> bytes:
    asked = [(str(q.folder), q.count, len(q.history), len(q.excluded), *_wanted(q)) for q in queries]
    numbers = [row for q in queries for part in (q.history, q.excluded) for row in part]
    return json.dumps(asked).encode() + b"\n" + np.array(numbers, np.int32).tobytes()


def _wanted(query: Query) -> tuple[str, AtMost] | tuple[()]:
    return (query.filter, query.at_most) if query.filter or query.at_most else ()


_path = lru_cache(maxsize=65_536)(Path)  # one object a folder: a new one takes longer to hash than to rank


def _decode(message: bytes) -> list[Query]:
    line, _, data = message.partition(b"\n")
    numbers = np.frombuffer(data, np.int32).tolist()
    queries, start = [], 0
    for folder, count, history, excluded, *wanted in json.loads(line):
        middle, end = start + history, start + history + excluded
        rows = numbers[start:middle], count, set(numbers[middle:end])
        queries.append(Query(_path(folder), *rows, *wanted))
        start = end
    return queries


class _Server:
    """The other side: answers until the server has gone."""

    def __init__(self, connection: Connection) -> None:
        keep_freed_memory()
        self.connection = connection
        options = json.loads(connection.recv_bytes())
        logs.configure(options["log_level"])
        self.device = pick_device(options["device"])
        backbone = load_backbone(options["backbone"], self.device)
        self.bank = Bank(backbone.model, "user", options["device_adapter_bytes"])
        self.host = HostTier(options["host_bytes"])
        self._gpu, self._gpu_at = gpu_memory(self.device), time.monotonic()
        self.rank = partial(rank, self.bank, backbone.model.config.length, self.host.open)
        connection.send_bytes(json.dumps(self._stats()).encode())

    def _stats(self) -> dict[str, Any]:
        now = time.monotonic()
        if now > self._gpu_at + GPU_SECONDS:
            self._gpu, self._gpu_at = gpu_memory(self.device), now
        return {"device": asdict(self.bank.stats), "host": asdict(self.host.stats), "gpu": self._gpu}

    def run(self) -> None:
        """Answer one batch after the other."""
        while True:
            try:
                message = self.connection.recv_bytes()
            except _ENDED:
                return
            self.connection.send_bytes(self._answer(message))

    def _answer(self, message: bytes) -> bytes:
        try:
            answers = self.rank(_decode(message))
        except Invalid as error:  # its folder was removed: another process has built a newer one
            return json.dumps({"damaged": error.message}).encode()
        except Exception as error:
            log.exception("a batch failed")
            return json.dumps({"error": f"{type(error).__name__}: {error}"}).encode()
        header = {"found": [len(answer) for answer in answers], "stats": self._stats()}
        rows = np.array([row for answer in answers for row, _ in answer], np.int32)
        scores = np.array([score for answer in answers for _, score in answer], np.float32)
        return json.dumps(header).encode() + b"\n" + rows.tobytes() + scores.tobytes()


if __name__ == "__main__":
    _Server(Connection(int(sys.argv[1]))).run()
