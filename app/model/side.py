"""A side network (LST, Sung et al. 2022; IISAN, Fu et al. 2024) over pooled states of a frozen item encoder.

With p_l the mean of the hidden states after layer l (p_0: after the embeddings; p_L: as the encoder pools;
low down, [CLS] knows nothing of the item yet) and f_l bottlenecks:

    s_0 = p_0 + f_0(p_0),   s_l = z_l + f_l(z_l)  with  z_l = p_l + g_l s_{l-1}

What is new, s_L - p_L, is added to the encoder's output. Gates g_l and the bottlenecks' Up start at 0, so an
untrained network changes nothing. Nothing of the encoder is in a training step: its states never change.
"""

from typing import Any

import torch
from torch import Tensor, nn

from app.model.bottlenecks import Bottleneck
from app.model.families import Part
from app.model.transrec import Pooling, pool


class SideNetwork(nn.Module):
    """Bottlenecks over pooled states; (N, L + 1, D) -> (N, D), what is to be added to the last of them."""

    def __init__(self, layers: int, width: int, bottleneck: int) -> None:
        super().__init__()
        self.bottlenecks = nn.ModuleList(Bottleneck(width, bottleneck) for _ in range(layers + 1))
        self.gates = nn.Parameter(torch.zeros(layers))

    def forward(self, states: Tensor) -> Tensor:
        """Zero until trained."""
        first, *others = states.unbind(1)
        s = first + self.bottlenecks[0](first)
        for p, gate, bottleneck in zip(others, self.gates, self.bottlenecks[1:], strict=True):
            z = p + gate * s
            s = z + bottleneck(z)
        return s - states[:, -1]  # type: ignore[no-any-return]


class WithSide(nn.Module):
    """An encoder's layers as one: it runs them and adds what the side network makes of what lies between."""

    def __init__(self, layers: nn.ModuleList, side: SideNetwork, pooling: Pooling) -> None:
        super().__init__()
        self.layers, self.side, self.pooling = layers, side, pooling

    def forward(self, x: Tensor, mask: Tensor | None = None, *args: Any, **kwargs: Any) -> Tensor:
        """(N, T, D) and the encoder's attention mask -> (N, T, D), every position moved alike."""
        states, x = run(self.layers, self.pooling, x, mask, *args, **kwargs)
        return x + self.side(states)[:, None]  # type: ignore[no-any-return]


def run(
    layers: nn.ModuleList, pooling: Pooling, x: Tensor, mask: Tensor | None, *args: Any, **kwargs: Any
) -> tuple[Tensor, Tensor]:
    """Hidden states (N, T, D) through the layers -> p_0 to p_L (N, L + 1, D), and the last hidden states."""
    real, found = _real(x, mask), []
    for layer in layers:
        found.append(pool(x, real, "mean"))
        x = layer(x, mask, *args, **kwargs)
    return torch.stack([*found, pool(x, real, pooling)], 1), x


def _real(x: Tensor, mask: Tensor | None) -> Tensor:
    """(N, T) bool, from an attention mask (N, 1, 1 or T, T): True or 0.0 where a token is real."""
    if mask is None:
        return torch.ones(x.shape[:2], dtype=torch.bool, device=x.device)
    first = mask[:, 0, 0]
    return first if first.dtype == torch.bool else first == 0


def insert(part: Part, bottleneck: int, pooling: Pooling) -> dict[str, nn.Parameter]:
    """Put a side network beside the part's layers; returns its parameters by site."""
    side = SideNetwork(len(part.layers), part.width, bottleneck)
    part.replace_layers(nn.ModuleList([WithSide(part.layers, side, pooling)]))
    named = {f"{part.name}/side/gates": side.gates}
    for number, own in enumerate(side.bottlenecks):
        named |= {f"{part.name}/side/S{number:02d}/{k}": p for k, p in own.named_parameters()}
    return named


def network_of(part: Part) -> SideNetwork:
    """The side network that `insert` has put beside the part's layers."""
    (found,) = part.layers
    assert isinstance(found, WithSide)  # noqa: S101 - the caller's method is "side"
    return found.side
