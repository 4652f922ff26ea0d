"""Where a figure was measured: versions, commit, processor."""

import platform
import subprocess
import sys
from functools import cache
from importlib import metadata
from pathlib import Path

import torch

UNKNOWN = "unknown"


@cache
def versions(device: str) -> dict[str, str]:
    """Names and versions, for a run's file and the head of a report."""
    return {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "transformers": metadata.version("transformers"),
        "commit": commit(),
        "cpu": cpu_name(),
        "device": torch.cuda.get_device_name() if device == "cuda" else device,
    }


def commit() -> str:
    """The checkout's commit, with `+` where files differ from it; `unknown` for an installed package."""
    root = Path(__file__).parents[2]
    if not (root / ".git").exists():
        return UNKNOWN
    head, changes = _git(root, "rev-parse", "--short=12", "HEAD"), _git(root, "status", "--porcelain")
    return f"{head}{'+' if changes else ''}" if head else UNKNOWN


def cpu_name() -> str:
    """The processor's own name where the system tells it."""
    info = Path("/proc/cpuinfo")
    for line in info.read_text().splitlines() if info.is_file() else ():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def command() -> str:
    """How this process was called, for a report."""
    return " ".join([Path(sys.argv[0]).name, *sys.argv[1:]])


def _git(root: Path, *arguments: str) -> str:
    try:
        done = subprocess.run(  # noqa: S603 - fixed arguments
            ["git", "-C", str(root), *arguments],  # noqa: S607
            capture_output=True, text=True, timeout=10, check=False,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""
