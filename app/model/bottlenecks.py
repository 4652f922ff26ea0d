"""Bottleneck adapters: Houlsby and its relatives, and Compacter, at their places in a layer.

An adapter f computes a *change*; what it reads is its placement. With x the sublayer's input and y its output
(dense and dropout, before the residual add): serial y + f(y), parallel y + f(x), after_norm y + f(LN(y + x)).
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from app.model.families import Part
from app.model.methods import PHM_DIM, AdapterConfig, Placement

Make = Callable[[int, int], nn.Module]
"""(width D, bottleneck k) -> an adapter (..., D) -> (..., D)."""


class Bottleneck(nn.Module):
    """f(x) = Up(ReLU(Down(x))): eq. 4 of the paper without its residual, Houlsby et al. 2019.

    Up starts at 0, so f does: with the published N(0, 0.01^2) an untrained adapter moves a real encoder's
    output by 1 to 42 % (docs/log.md).
    """

    def __init__(self, width: int, bottleneck: int) -> None:
        super().__init__()
        self.down = nn.Linear(width, bottleneck)
        self.up = nn.Linear(bottleneck, width)
        nn.init.normal_(self.down.weight, std=0.01)
        for start_at_zero in (self.down.bias, self.up.weight, self.up.bias):
            nn.init.zeros_(start_at_zero)

    def forward(self, x: Tensor) -> Tensor:
        """(..., D) -> (..., D), zero until trained."""
        return self.up(F.relu(self.down(x)))  # type: ignore[no-any-return]


class PHMLinear(nn.Module):
    """x H + b, H = sum_i kron(rule_i, left_i right_i): Mahabadi et al. 2021, eq. 4-6."""

    def __init__(self, rule: nn.Parameter, d_in: int, d_out: int) -> None:
        super().__init__()
        self.rule = rule  # (n, n, n), shared by all of a channel's layers
        self.left = nn.Parameter(torch.empty(PHM_DIM, d_in // PHM_DIM, 1))
        self.right = nn.Parameter(torch.empty(PHM_DIM, 1, d_out // PHM_DIM))
        self.bias = nn.Parameter(torch.zeros(d_out))
        for factors in (self.left, self.right):
            for factor in factors:
                nn.init.xavier_uniform_(factor, gain=2**0.5)

    def weight(self) -> Tensor:
        """H, (d_in, d_out)."""
        return phm_weight(self.rule, self.left, self.right)

    def forward(self, x: Tensor) -> Tensor:
        """(..., d_in) -> (..., d_out)."""
        return F.linear(x, self.weight().T, self.bias)


def phm_weight(rule: Tensor, left: Tensor, right: Tensor) -> Tensor:
    """(n, n, n), (n, d_in / n, 1), (n, 1, d_out / n) -> sum_i kron(rule_i, left_i right_i), (d_in, d_out)."""
    d_in, d_out = left[..., 0].numel(), right[:, 0].numel()
    return torch.einsum("nij,nkl->ikjl", rule, left @ right).reshape(d_in, d_out)


class Compacter(nn.Module):
    """f(x) = Up(GELU(Down(x))) with hypercomplex Down and Up."""

    def __init__(self, rule: nn.Parameter, width: int, bottleneck: int) -> None:
        super().__init__()
        self.down = PHMLinear(rule, width, bottleneck)
        self.up = PHMLinear(rule, bottleneck, width)

    def forward(self, x: Tensor) -> Tensor:
        """(..., D) -> (..., D), near zero until trained."""
        return self.up(F.gelu(self.down(x)))  # type: ignore[no-any-return]


def new_rule() -> nn.Parameter:
    """Compacter's rule (n, n, n), N(0, 1e-4): so small that an untrained adapter changes nothing."""
    return nn.Parameter(torch.empty(PHM_DIM, PHM_DIM, PHM_DIM).normal_(std=1e-4))


class AdaptedSublayer(nn.Module):
    """A sublayer x -> y (or (y, ...), as attention answers) with an adapter behind or beside it."""

    def __init__(self, inner: nn.Module, adapter: nn.Module, placement: Placement) -> None:
        super().__init__()
        self.inner, self.adapter, self.parallel = inner, adapter, placement == "parallel"

    def forward(self, x: Tensor, *args: Any, **kwargs: Any) -> Any:
        """What the sublayer answers, y changed."""
        answer = self.inner(x, *args, **kwargs)
        y = answer[0] if isinstance(answer, tuple) else answer
        y = y + self.adapter(x if self.parallel else y)
        return (y, *answer[1:]) if isinstance(answer, tuple) else y


class AdaptedPostNorm(nn.Module):
    """BERT's end of a sublayer, (h, x) -> LN(Dropout(Dense(h)) + x), with an adapter before the sum."""

    def __init__(self, inner: nn.Module, adapter: nn.Module, placement: Placement) -> None:
        super().__init__()
        self.inner, self.adapter, self.placement = inner, adapter, placement

    def forward(self, hidden: Tensor, x: Tensor) -> Tensor:
        """(N, T, *), (N, T, D) -> (N, T, D)."""
        inner: Any = self.inner
        y = inner.dropout(inner.dense(hidden))
        source = y if self.placement == "serial" else x
        if self.placement == "after_norm":
            source = inner.LayerNorm(y + x)
        return inner.LayerNorm(y + self.adapter(source) + x)  # type: ignore[no-any-return]


def insert(
    part: Part, config: AdapterConfig, bottleneck: int, first_layer: int, make: Make
) -> dict[str, nn.Parameter]:
    """Put adapters into the part's layers from `first_layer` up; returns their parameters by site."""
    wrap = AdaptedPostNorm if part.family.post_norm else AdaptedSublayer
    named: dict[str, nn.Parameter] = {}
    for number, layer in enumerate(part.layers):
        for sublayer in config.sublayers if number >= first_layer else ():
            path = part.family.outputs[sublayer]
            adapter = make(part.width, bottleneck)
            layer.set_submodule(path, wrap(layer.get_submodule(path), adapter, config.placement or "serial"))
            named |= {f"{part.name}/L{number:02d}/{sublayer}/{k}": p for k, p in adapter.named_parameters()}
    return named
