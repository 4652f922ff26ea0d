"""Progress on the terminal: which run of how many, its epoch, and the time that the rest will take."""

import time
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from training.experiments.results import RunResult
from training.experiments.spec import RunSpec
from training.fit import StepReport


class Terminal:
    """A `Watch` that draws two bars and keeps a line for every finished run."""

    def __init__(self, console: Console | None = None) -> None:
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.fields[note]}"),
            TimeElapsedColumn(),
        )
        self.progress = Progress(*columns, console=console)
        self.all = self.progress.add_task("runs", total=None, note="")
        self.one = self.progress.add_task("", total=None, note="")
        self.started = time.monotonic()
        self.finished, self.total = 0, 0

    def __enter__(self) -> Self:
        self.progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.progress.stop()

    def say(self, line: str) -> None:
        """Above the bars."""
        self.progress.console.print(line, highlight=False, soft_wrap=True)

    def run_starts(self, number: int, of: int, spec: RunSpec) -> None:
        """Name it and show how long the rest will take."""
        self.finished, self.total = number, of
        self.progress.update(
            self.all, description=f"run {number + 1} of {of}", completed=number, total=of, note=self._eta()
        )
        self.progress.update(self.one, description=spec.title, completed=0, total=None, note="")

    def run_ends(self, result: RunResult) -> None:
        """One line to keep."""
        self.finished += 1
        self.progress.update(self.all, completed=self.finished, note=self._eta())
        how = f"failed: {result.error}"
        if result.status == "done":
            test = result.test["paper"]
            how = f"test HR@10 {test['hr10']:.4f} ± {test['hr10_se']:.4f}, {result.epochs} epochs"
        self.say(f"[{self.finished}/{self.total}] {result.spec.title}: {how}, {result.wall:.0f} s")

    def step(self, report: StepReport) -> None:
        """Within the epoch."""
        last = f", validation HR@10 {report.curve[-1]['hr10']:.4f}" if report.curve else ""
        self.progress.update(
            self.one,
            completed=report.step,
            total=report.steps,
            note=f"epoch {report.epoch + 1}, loss {report.loss:.3f}{last}",
        )

    def _eta(self) -> str:
        if not self.finished:
            return ""
        left = (time.monotonic() - self.started) / self.finished * (self.total - self.finished)
        return f"about {left / 60:.0f} min left"
