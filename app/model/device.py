"""Where and in which precision the model computes."""

import ctypes
import resource
import sys
from contextlib import AbstractContextManager, nullcontext
from typing import Literal

import torch

DeviceName = Literal["auto", "cpu", "cuda"]


def pick_device(name: DeviceName = "auto") -> torch.device:
    """`auto` is the GPU where there is one."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(name)


def device_name(device: torch.device) -> str:
    """Return what people call it: `cpu`, or the GPU's name."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type


def gpu_memory(device: torch.device) -> dict[str, int]:
    """Bytes that this process has `allocated` and `reserved` on the GPU, and its `total`; empty on a CPU."""
    if device.type != "cuda":
        return {}
    return {
        "allocated": torch.cuda.memory_allocated(device),
        "reserved": torch.cuda.memory_reserved(device),
        "total": torch.cuda.get_device_properties(device).total_memory,
    }


def peak_memory() -> int:
    """Bytes that this process has had in use at most: on the GPU where it has used one, else resident."""
    if torch.cuda.is_available() and (peak := torch.cuda.max_memory_allocated()):
        return peak
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def has_fast_bf16(device: torch.device) -> bool:
    """A GPU, or a CPU with AVX512-BF16 or AMX: there bf16 halves the encoder's time."""
    if device.type == "cuda":
        return True
    return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())


def autocast(device: torch.device) -> AbstractContextManager[object]:
    """bf16 autocast where the hardware has it, else nothing."""
    if has_fast_bf16(device):
        return torch.autocast(device.type, dtype=torch.bfloat16)
    return nullcontext()


def keep_freed_memory() -> bool:
    """Have glibc keep up to 1 GiB of freed memory for this process; whether it took that.

    A forward takes and frees the same megabytes again and again. By default they go back to the kernel in
    between, and its fresh pages cost up to a third of the forward's time.
    """
    trim_threshold, mmap_threshold = -1, -3  # of malloc.h
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):  # another C library
        return False
    return bool(mallopt(mmap_threshold, 32 << 20) and mallopt(trim_threshold, 1 << 30))
