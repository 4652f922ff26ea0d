"""K-Adapter (Wang et al. 2020): small transformers beside the first and last layer, fused with the output.

Chained: out_i = Up(Blocks(Down(s_i))) + s_i with s_i = h_i + out_{i-1}; the encoder's new output is
Linear([h_last; out_last]), which starts as "take h_last", so an untrained adapter changes nothing.
"""

from typing import Any

import torch
from torch import Tensor, nn

from app.model.families import Part
from app.model.methods import k_heads
from app.model.transrec import Block, TransRecConfig

BLOCKS = 2


class KAdapter(nn.Module):
    """Down -> 2 transformer blocks -> Up, with the residual; (N, T, D) -> (N, T, D)."""

    def __init__(self, width: int, bottleneck: int) -> None:
        super().__init__()
        inside = TransRecConfig(dim=bottleneck, heads=k_heads(bottleneck), dropout=0.0)
        self.down = nn.Linear(width, bottleneck)
        self.blocks = nn.ModuleList(Block(inside) for _ in range(BLOCKS))
        self.up = nn.Linear(bottleneck, width)
        for layer in (self.down, self.up):
            nn.init.normal_(layer.weight, std=2e-4)
            nn.init.zeros_(layer.bias)

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        """Attend where the encoder itself attends: a causal one stays causal."""
        inside = self.down(x)
        for block in self.blocks:
            inside = block(inside, mask)
        return x + self.up(inside)  # type: ignore[no-any-return]


class KAdapted(nn.Module):
    """An encoder's (top) layers as one: it runs them, and its adapters beside them."""

    def __init__(self, layers: nn.ModuleList, width: int, bottleneck: int) -> None:
        super().__init__()
        self.layers = layers
        self.taps = sorted({0, len(layers) - 1})  # layers 1 and 12 of a base model
        self.adapters = nn.ModuleList(KAdapter(width, bottleneck) for _ in self.taps)
        self.fusion = nn.Linear(2 * width, width)
        with torch.no_grad():
            self.fusion.weight.zero_()
            self.fusion.weight[:, :width].fill_diagonal_(1)
            self.fusion.bias.zero_()

    def forward(self, x: Tensor, mask: Tensor | None = None, *args: Any, **kwargs: Any) -> Tensor:
        """(N, T, D) and the encoder's attention mask -> (N, T, D)."""
        out: Tensor | None = None
        for number, layer in enumerate(self.layers):
            x = layer(x, mask, *args, **kwargs)
            if number in self.taps:
                adapter = self.adapters[self.taps.index(number)]
                out = adapter(x if out is None else x + out, mask)
        return self.fusion(torch.cat([x, out], dim=-1))  # type: ignore[no-any-return, list-item]


def insert(part: Part, bottleneck: int, first_layer: int) -> dict[str, nn.Parameter]:
    """Put the adapters beside the part's layers from `first_layer` up; returns their parameters by site."""
    layers = list(part.layers)
    adapted = KAdapted(nn.ModuleList(layers[first_layer:]), part.width, bottleneck)
    part.replace_layers(nn.ModuleList([*layers[:first_layer], adapted]))
    named = {f"{part.name}/fusion.{k}": p for k, p in adapted.fusion.named_parameters()}
    for number, adapter in zip(adapted.taps, adapted.adapters, strict=True):
        named |= {
            f"{part.name}/L{first_layer + number:02d}/k_adapter/{k}": p for k, p in adapter.named_parameters()
        }
    return named
