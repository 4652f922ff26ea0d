"""Progress on stderr: of a file that is sent, of a job that trains."""

from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TransferSpeedColumn,
)

from app.api.schemas.jobs import JobOut
from app.client import Client
from app.client.upload import OnProgress

_errors = Console(stderr=True, highlight=False, markup=False)  # stdout is for what the command prints


@contextmanager
def uploading(name: str) -> Iterator[OnProgress]:
    """A bar of bytes; once all are sent it says that the server is at work."""
    columns = TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn()
    with Progress(*columns, console=_errors, transient=True, disable=not _errors.is_terminal) as progress:
        bar = progress.add_task(f"sending {name}", total=None)

        def note(sent: int, total: int) -> None:
            doing = "checking and storing" if sent == total else "sending"
            progress.update(bar, description=f"{doing} {name}", completed=sent, total=total)

        yield note


def followed(client: Client, channel: str, job_id: str) -> JobOut:
    """Show a job live until it has ended, and return it; Ctrl-C ends the show, not the job."""
    if not _errors.is_terminal:
        return client.wait(channel, job_id, _Lines())
    columns = TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[note]}")
    with Progress(*columns, TimeElapsedColumn(), console=_errors, transient=True) as progress:
        bar = progress.add_task("waiting for a worker", total=None, note="")

        def note(job: JobOut) -> None:
            done, total = _steps(job)
            progress.update(bar, description=_phase(job), completed=done, total=total, note=line_of(job))

        return client.wait(channel, job_id, note)


class _Lines:
    """For a log: a line at each phase and each epoch."""

    def __init__(self) -> None:
        self._said: object = None

    def __call__(self, job: JobOut) -> None:
        now = _phase(job), job.progress.get("epoch")
        if now != self._said and job.finished_at is None:
            self._said = now
            _errors.print(": ".join(filter(None, (_phase(job), line_of(job)))), soft_wrap=True)


def line_of(job: JobOut) -> str:
    """Where a job stands: epoch, loss, HR@10 on validation, how long it may still take."""
    at = job.progress
    parts = []
    if "epoch" in at:
        parts.append(f"epoch {at['epoch']}/{at.get('max_epochs', '?')}")
    if "loss" in at:
        parts.append(f"loss {at['loss']:.3f}")
    if hr10 := [point["hr10"] for point in at.get("curve", []) if "hr10" in point]:
        parts.append(f"HR@10 {hr10[-1]:.4f}")
    if job.state == "RUNNING" and "at_most_seconds_left" in at:
        parts.append(f"at most {_duration(at['at_most_seconds_left'])} left")
    return ", ".join(parts)


def _phase(job: JobOut) -> str:
    if job.state == "PENDING":
        return "waiting for a worker"
    return "cancelling" if job.cancel_requested else str(job.progress.get("phase", job.state.lower()))


def _steps(job: JobOut) -> tuple[int, int | None]:
    at = job.progress
    if not at.get("steps"):
        return 0, None
    return (at["epoch"] - 1) * at["steps"] + at["step"], at["max_epochs"] * at["steps"]


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"
