"""LoRA: low-rank changes of the query and value projections, the field's default outside recommendation."""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from app.model.families import Part

ALPHA = 16.0
TARGETS = ("query", "value")


class LoRALinear(nn.Module):
    """W x + b + (alpha / r) B A x, Hu et al. 2021, eq. 3; B starts at 0, so nothing changes until trained."""

    def __init__(self, inner: nn.Linear, rank: int) -> None:
        super().__init__()
        self.inner = inner
        self.lora_a = nn.Parameter(torch.empty(rank, inner.in_features))
        self.lora_b = nn.Parameter(torch.zeros(inner.out_features, rank))
        self.scale = ALPHA / rank
        nn.init.kaiming_uniform_(self.lora_a, a=math.sqrt(5))

    def forward(self, x: Tensor) -> Tensor:
        """(..., D_in) -> (..., D_out)."""
        low = F.linear(F.linear(x, self.lora_a), self.lora_b)
        return self.inner(x) + self.scale * low  # type: ignore[no-any-return]


def insert(part: Part, rank: int, first_layer: int) -> dict[str, nn.Parameter]:
    """Wrap the projections from `first_layer` up; returns their parameters by site."""
    named: dict[str, nn.Parameter] = {}
    for path, module in list(part.encoder.named_modules()):
        if not isinstance(module, nn.Linear):
            continue
        site = part.family.site(f"{path}.weight") or ""
        layer, _, place = site.removesuffix(".weight").partition("/")
        if place not in {f"mha/{target}" for target in TARGETS} or int(layer[1:]) < first_layer:
            continue
        lora = LoRALinear(module, rank)
        part.encoder.set_submodule(path, lora)
        named |= {f"{part.name}/{layer}/{place}.{k}": getattr(lora, k) for k in ("lora_a", "lora_b")}
    return named
