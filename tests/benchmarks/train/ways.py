"""The ways in which we train, each as a `Run` whose item tower is counted."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from app.model.adapters import attach, freeze_all_but
from app.model.device import autocast
from app.model.encode import device_of, tokens_per_batch
from app.model.methods import AdapterConfig
from training.dataset import Batch
from training.finetune import Subject, tower_of
from training.fit import FitConfig, Run
from training.towers import ContentTower, Tower, UpperTower

METHODS: dict[str, dict[str, Any]] = {
    "exact": {"method": "houlsby"},
    "cached n=2": {"method": "houlsby", "top_layers": 2},
    "side network": {"method": "side"},
}


class Counted:
    """A tower that counts what it is asked for and what it sends through the encoder, padding included."""

    def __init__(self, tower: Tower) -> None:
        self.tower, self.encodings, self.tokens = tower, 0, 0

    def __call__(self, rows: NDArray[np.int64]) -> Tensor:
        """As the tower's."""
        if isinstance(self.tower, ContentTower | UpperTower):
            inputs, device = self.tower.inputs, device_of(self.tower.model)
            for positions in inputs.buckets(rows, tokens_per_batch(device)):
                self.tokens += len(positions) * int(inputs.lengths[rows[positions]].max())
            self.encodings += len(rows)
        return self.tower(rows)

    def catalogue(self) -> NDArray[np.float32]:
        """As the tower's."""
        return self.tower.catalogue()


@dataclass(frozen=True)
class Way:
    """One of ours: a run, its counted tower, and what a step on a batch is."""

    run: Run
    tower: Counted

    def step(self, batch: Batch) -> None:
        """One step; then the device has nothing left to do."""
        self.run.step(batch, self.run.state.step)
        if torch.cuda.is_available():
            torch.cuda.synchronize()


def way(on: Subject, adapter: dict[str, Any], objective: str, batch_users: int) -> Way:
    """A fresh adapter of that kind, ready to be trained."""
    config = AdapterConfig.model_validate(adapter)
    torch.manual_seed(0)
    model = attach(on.backbone.model, config)
    freeze_all_but(model, model.adapter)
    tower = Counted(tower_of(on, model, config, None))
    fit = FitConfig.model_validate({"objective": objective, "batch_users": batch_users})
    return Way(Run(model, model.adapter, on.corpus, tower, fit), tower)


def ways(on: Subject, batch_users: int) -> Mapping[str, Callable[[], Way]]:
    """By name; made when called for, for each holds its caches."""
    made = {name: partial(way, on, adapter, "sasrec", batch_users) for name, adapter in METHODS.items()}
    return made | {"default job": partial(way, on, METHODS["exact"], "in_batch", batch_users)}


def matrix_rate(device: torch.device, seconds: float = 1.0) -> float:
    """FLOP/s of large matrix products in the precision of `autocast`: what the hardware gives at best."""
    n = 8192 if device.type == "cuda" else 1536
    a, b = torch.randn(n, n, device=device), torch.randn(n, n, device=device)
    best, end = float("inf"), time.monotonic() + seconds
    with autocast(device), torch.inference_mode():
        if torch.is_autocast_enabled(device.type):
            a, b = a.bfloat16(), b.bfloat16()
        while time.monotonic() < end:
            started = time.perf_counter()
            a @ b
            if device.type == "cuda":
                torch.cuda.synchronize()
            best = min(best, time.perf_counter() - started)
    return 2 * n**3 / best
