"""Several processes, one a GPU, that train one model: started by torchrun, each has a share of the batches.

Every process holds all weights. Gradients are averaged, so all take the same step; a step of n processes sees
n batches. Without torchrun there is one process, and nothing here does anything.
"""

import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from app.model.device import pick_device

T = TypeVar("T")


@contextmanager
def joined() -> Iterator[torch.device]:
    """Join the other processes, if torchrun has started any; gives the device that is this process's own."""
    if "LOCAL_RANK" not in os.environ:
        yield pick_device()
        return
    cuda = torch.cuda.is_available()
    device = torch.device("cuda", int(os.environ["LOCAL_RANK"])) if cuda else torch.device("cpu")
    if cuda:
        torch.cuda.set_device(device)
    dist.init_process_group("nccl" if cuda else "gloo")
    try:
        yield device
    finally:
        dist.destroy_process_group()


def processes() -> int:
    """How many train together."""
    return dist.get_world_size() if dist.is_initialized() else 1


def first() -> bool:
    """Whether this process is the one that speaks and writes."""
    return not dist.is_initialized() or dist.get_rank() == 0


def mine(batches: Iterable[T]) -> Iterator[T]:
    """This process's share; what does not go round is left out, so that all take equally many steps."""
    rank, turn = dist.get_rank() if dist.is_initialized() else 0, list[T]()
    for batch in batches:
        turn.append(batch)
        if len(turn) == processes():
            yield turn[rank]
            turn.clear()


def agreed(*numbers: float) -> list[float]:
    """The first process's numbers, for decisions that all must take alike."""
    if not dist.is_initialized():
        return list(numbers)
    device = torch.device("cuda") if dist.get_backend() == "nccl" else None
    found = torch.tensor(numbers, dtype=torch.float64, device=device)
    dist.broadcast(found, 0)
    return list(map(float, found))


def average(gradients: Sequence[Tensor | None]) -> None:
    """Replace each gradient by its mean over the processes."""
    if not dist.is_initialized():
        return
    for gradient in gradients:
        if gradient is not None:
            dist.all_reduce(gradient)
            gradient /= dist.get_world_size()
