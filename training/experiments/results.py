"""What was measured: one JSON file a run, written whole or not at all, so that any kill can be resumed."""

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from training.experiments.spec import RunSpec

Figures = dict[str, float]  # an `Evaluation` as a flat dict: hr10, ndcg10, their SEs, users, cold_*


class RunResult(BaseModel):
    """A run that ended, well or badly. `test` is by protocol; nothing was chosen by it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    spec: RunSpec
    status: Literal["done", "failed"]
    error: str = ""
    budget: dict[str, Any] = Field(description="the scale's figures at the time")
    validation: Figures = Field(default_factory=dict)
    test: dict[str, Figures] = Field(default_factory=dict)
    trainable: int = 0
    full: int = Field(0, description="parameters that full fine-tuning would train")
    users: int = 0
    items: int = 0
    epochs: int = 0
    seconds: float = Field(0.0, description="of training")
    wall: float = Field(0.0, description="seconds from start to end, encoding and evaluation included")
    curve: list[dict[str, float]] = Field(default_factory=list)
    pretraining: dict[str, Any] = Field(default_factory=dict)
    versions: dict[str, str] = Field(default_factory=dict)


class Results:
    """The folder of run files."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def path(self, spec: RunSpec) -> Path:
        """Where this run's file is, or will be."""
        return self.folder / f"{spec.key}.json"

    def read(self, spec: RunSpec) -> RunResult | None:
        """The run's result; None when there is none or its file is damaged: it runs again."""
        try:
            return RunResult.model_validate_json(self.path(spec).read_text())
        except (FileNotFoundError, ValidationError):
            return None

    def write(self, result: RunResult) -> None:
        """Replace the run's file at once."""
        write_whole(self.path(result.spec), result.model_dump_json(indent=1) + "\n")

    def read_all(self, specs: Iterable[RunSpec], budget: dict[str, object]) -> dict[str, RunResult]:
        """By key, those there are of this very budget: what an edited scale left behind does not count."""
        found = {spec.key: self.read(spec) for spec in specs}
        return {k: result for k, result in found.items() if result is not None and result.budget == budget}

    def done(self, spec: RunSpec, budget: dict[str, object]) -> bool:
        """Whether the run ended well under this very budget."""
        found = self.read_all([spec], budget).get(spec.key)
        return found is not None and found.status == "done"


def write_whole(path: Path, text: str) -> None:
    """Write beside, flush to the disk, then rename: a reader sees the old file or the new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    with beside.open("w", encoding="utf-8") as out:
        out.write(text)
        out.flush()
        os.fsync(out.fileno())
    beside.replace(path)
