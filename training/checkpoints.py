"""Checkpoints of a training run in a file, for what has no database: pretraining."""

import json
from dataclasses import asdict
from pathlib import Path

from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from training import distributed
from training.fit import FitState


class FileCheckpoints:
    """`fit.Checkpoints` as one safetensors file whose metadata are the run's state."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def load(self) -> tuple[FitState, dict[str, Tensor]] | None:
        """The latest one; the same for each of several processes."""
        if not self.path.is_file():
            return None
        with safe_open(self.path, "pt") as file:
            state = FitState(**json.loads(file.metadata()["state"]))
            return state, {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no mapping

    def save(self, state: FitState, tensors: dict[str, Tensor]) -> None:
        """Write aside, then rename: the old one stays until the new one is whole."""
        if not distributed.first():
            return
        self.path.parent.mkdir(parents=True, exist_ok=True)
        aside = self.path.with_suffix(".new")
        contiguous = {name: tensor.contiguous() for name, tensor in tensors.items()}
        save_file(contiguous, aside, {"state": json.dumps(asdict(state))})
        aside.replace(self.path)

    def remove(self) -> None:
        """The run has ended; so has its folder, with the last one."""
        self.path.unlink(missing_ok=True)
        if self.path.parent.is_dir() and not any(self.path.parent.iterdir()):
            self.path.parent.rmdir()
