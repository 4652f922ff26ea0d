"""New items of any channels, encoded together: one forward of the item encoder over rows of many adapters."""

import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from app.model.backbone import Backbone
from app.model.bank import Bank
from app.model.bank_slots import AdapterWeights
from app.model.encode import device_of, in_batches


@dataclass(slots=True, eq=False)
class _Job:
    adapter: AdapterWeights
    contents: Sequence[Any]
    result: NDArray[np.float32] | None = None
    error: Exception | None = None
    done: threading.Event = field(default_factory=threading.Event)


class Desk:
    """Whoever has the turn encodes for all who wait: alone, nobody is waited for. Safe to share."""

    def __init__(self, backbone: Backbone, budget_bytes: int) -> None:
        self._backbone = backbone
        self._bank = Bank(backbone.model, "item", budget_bytes)
        self._waiting: list[_Job] = []
        self._adding, self._turn = threading.Lock(), threading.Lock()

    def encode(self, adapter: AdapterWeights, contents: Sequence[Any]) -> NDArray[np.float32]:
        """A few contents -> item vectors (N, d); raises `Invalid` for an adapter larger than the budget."""
        job = _Job(adapter, contents)
        with self._adding:
            self._waiting.append(job)
        with self._turn:
            if not job.done.is_set():
                self._encode_waiting()
        if job.error is not None:
            raise job.error
        assert job.result is not None  # noqa: S101 - a job that is done has one of the two
        return job.result

    def _encode_waiting(self) -> None:
        with self._adding:
            jobs, self._waiting = self._waiting, []
        if not self._encoded(jobs):  # one of them spoils the batch: each alone
            for job in jobs:
                self._encoded([job])
        for job in jobs:
            job.done.set()

    def _encoded(self, jobs: Sequence[_Job]) -> bool:
        try:
            self._encode(jobs)
        except Exception as error:
            for job in jobs:
                job.error = error
            return False
        for job in jobs:
            job.error = None
        return True

    def _encode(self, jobs: Sequence[_Job]) -> None:
        adapters = [job.adapter for job in jobs for _ in job.contents]
        inputs = self._backbone.inputs([content for job in jobs for content in job.contents])
        model = self._backbone.model

        def encode(rows: NDArray[np.int64], *batch: Tensor) -> Tensor:
            return self._bank.items([adapters[row] for row in rows], *batch)

        out = in_batches(inputs, model.config.dim, device_of(model), encode)
        start = 0
        for job in jobs:
            job.result = out[start : start + len(job.contents)]
            start += len(job.contents)
