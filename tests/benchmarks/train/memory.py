"""Peak memory of a piece of work."""

import ctypes
from collections.abc import Callable
from pathlib import Path

import torch

STATUS = Path("/proc/self/status")


def peak_of(work: Callable[[], object]) -> int:
    """Bytes that were in use at most while `work` ran, above those before it: of the GPU where there is one.

    On a CPU from Linux's own mark, which is put back first; 0 where there is none.
    """
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        work()
        torch.cuda.synchronize()
        return torch.cuda.max_memory_allocated() - before
    if not STATUS.exists():
        work()
        return 0
    ctypes.CDLL(None).malloc_trim(0)  # else what was freed before would be used again, unseen
    Path("/proc/self/clear_refs").write_text("5")
    before = _kib("VmRSS")
    work()
    return 1024 * (_kib("VmHWM") - before)


def _kib(name: str) -> int:
    line = next(line for line in STATUS.read_text().splitlines() if line.startswith(f"{name}:"))
    return int(line.split()[1])
