"""One forward over rows of many channels: a backbone's modules, each adding what its rows' adapters add.

Before a forward a `Plan` says which rows are whose. Rows of a `Run` stand side by side, so that its part of
any tensor is a slice, never a copy. Shapes: N rows, R rows of a run, T positions, D width, k bottleneck.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from app.model.families import Part
from app.model.k_adapter import KAdapter
from app.model.lora import TARGETS
from app.model.methods import Placement
from app.model.prompts import VisualPrompts
from app.model.transrec import newest

Activation = Literal["relu", "gelu", "none"]
Affine = tuple[Tensor, Tensor]
"""Weight and bias, of one adapter or with a first dimension of R rows."""

_ACTIVATIONS: dict[Activation, Callable[[Tensor], Tensor]] = {
    "relu": F.relu,
    "gelu": F.gelu,
    "none": lambda hidden: hidden,
}


def linear(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """(R, T, D) -> (R, T, k) by one (k, D) and (1, k), or by a weight (R, k, D) and bias (R, 1, k) a row."""
    if weight.dim() == 2:
        return F.linear(x, weight, bias[0])
    return torch.baddbmm(bias, x, weight.mT)


@dataclass(frozen=True, eq=False)
class Change:
    """f(x) = Up(act(Down(x))), added to what a module answers: a bottleneck, a Compacter or a LoRA.

    `reads` is a placement of `bottlenecks`. Tensors as `linear` takes them.
    """

    activation: Activation
    reads: Placement
    down: Tensor
    down_bias: Tensor
    up: Tensor
    up_bias: Tensor

    def add_to(self, y: Tensor, rows: slice, source: Tensor) -> None:
        """y[rows] += f(source[rows]), in place: y is fresh from a frozen module."""
        hidden = _ACTIVATIONS[self.activation](linear(source[rows], self.down, self.down_bias))
        y[rows] += linear(hidden, self.up, self.up_bias)


@dataclass(frozen=True, eq=False)
class Beside:
    """A K-Adapter: its small transformers by the number of the layer that they stand beside, its fusion."""

    adapters: Mapping[int, KAdapter]
    fusion: nn.Linear


@dataclass(frozen=True, eq=False)
class Run:
    """Rows of one adapter, or of several that are stacked because their changes have one shape."""

    rows: slice
    change_at: Callable[[str], Change | None]  # by place: item/L03/mha, user/L00/mha/query
    dtl: Affine | None = None  # (d, D), (1, d) or with R first; None: the backbone's
    beside: Beside | None = None


@dataclass
class Plan:
    """Whose rows the next forward has; the wrapped modules read it. As it is made: bare rows only."""

    runs: list[Run] = field(default_factory=list)
    norms: list[Affine] | None = None  # of each LayerNorm: (D,) or (N, 1, D); None: the backbone's
    prompt: Tensor | None = None  # (n, D) or (N, n, D)

    def at(self, place: str) -> list[tuple[slice, Change]]:
        """The changes at a place of the architecture."""
        return [(run.rows, change) for run in self.runs if (change := run.change_at(place))]


class MixedNorm(nn.Module):
    """A LayerNorm with weights and biases a row."""

    def __init__(self, inner: nn.LayerNorm, plan: Plan, number: int) -> None:
        super().__init__()
        self.inner, self.plan, self.number = inner, plan, number
        # Twice as fast as none at all, which torch does not vectorise on a CPU.
        self.one, self.zero = torch.ones_like(inner.weight), torch.zeros_like(inner.bias)

    def forward(self, x: Tensor) -> Tensor:
        """(N, T, D) -> (N, T, D)."""
        if self.plan.norms is None:
            return self.inner(x)  # type: ignore[no-any-return]
        weight, bias = self.plan.norms[self.number]
        shape, eps = self.inner.normalized_shape, self.inner.eps
        if weight.dim() == 1:
            return F.layer_norm(x, shape, weight, bias, eps)
        normed = F.layer_norm(x, shape, self.one, self.zero, eps)
        return torch.addcmul(bias, normed, weight).to(normed.dtype)


class MixedModule(nn.Module):
    """A sublayer or projection x -> y (or (y, ...), as attention answers) that each run may change."""

    def __init__(self, inner: nn.Module, plan: Plan, place: str) -> None:
        super().__init__()
        self.inner, self.plan, self.place = inner, plan, place

    def forward(self, x: Tensor, *args: Any, **kwargs: Any) -> Any:
        """What the module answers, y changed."""
        answer = self.inner(x, *args, **kwargs)
        y = answer[0] if isinstance(answer, tuple) else answer
        for rows, change in self.plan.at(self.place):
            change.add_to(y, rows, x if change.reads == "parallel" else y)
        return answer


class MixedPostNorm(nn.Module):
    """BERT's end of a sublayer, (h, x) -> LN(Dropout(Dense(h)) + x); a run may change the dense's answer."""

    def __init__(self, inner: nn.Module, plan: Plan, place: str) -> None:
        super().__init__()
        self.inner, self.plan, self.place = inner, plan, place

    def forward(self, hidden: Tensor, x: Tensor) -> Tensor:
        """(N, T, *), (N, T, D) -> (N, T, D)."""
        inner: Any = self.inner
        y = inner.dropout(inner.dense(hidden))
        changes = self.plan.at(self.place)
        sources = {"serial": y, "parallel": x}
        if any(change.reads == "after_norm" for _, change in changes):
            sources["after_norm"] = inner.LayerNorm(y + x)  # of all rows, and before any is changed
        for rows, change in changes:
            change.add_to(y, rows, sources[change.reads])
        return inner.LayerNorm(y + x)  # type: ignore[no-any-return]


class MixedLayers(nn.Module):
    """An encoder's layers as one, with the K-Adapters of their rows beside them.

    `newest_only`: the last layer answers position L - 1 alone, (B, 1, d), unless a K-Adapter reads all.
    """

    def __init__(self, layers: nn.ModuleList, plan: Plan, newest_only: bool) -> None:
        super().__init__()
        self.layers, self.plan, self.newest_only = layers, plan, newest_only

    def forward(self, x: Tensor, mask: Tensor | None = None, *args: Any, **kwargs: Any) -> Tensor:
        """(N, T, D) and the encoder's attention mask -> (N, T, D)."""
        beside = [(run.rows, run.beside) for run in self.plan.runs if run.beside]
        out: dict[int, Tensor] = {}  # of each K-Adapter's last transformer, by the first of its rows
        for number, layer in enumerate(self.layers):
            if self.newest_only and not beside and mask is not None and number == len(self.layers) - 1:
                return newest(layer, x, mask)
            x = layer(x, mask, *args, **kwargs)
            for rows, k in beside:
                if number in k.adapters:
                    read = x[rows] + out[rows.start] if rows.start in out else x[rows]
                    out[rows.start] = k.adapters[number](read, mask if mask is None else mask[rows])
        for rows, k in beside:
            x[rows] = k.fusion(torch.cat([x[rows], out[rows.start]], dim=-1))
        return x


class MixedDTL(nn.Module):
    """The DTL with weights a run; a run without any has the backbone's."""

    def __init__(self, inner: nn.Linear, plan: Plan) -> None:
        super().__init__()
        self.inner, self.plan = inner, plan

    def forward(self, pooled: Tensor) -> Tensor:
        """(N, D) -> (N, d)."""
        if not any(run.dtl for run in self.plan.runs):
            return self.inner(pooled)  # type: ignore[no-any-return]
        return torch.cat([self._of(run, pooled[run.rows]) for run in self.plan.runs])

    def _of(self, run: Run, pooled: Tensor) -> Tensor:
        if run.dtl is None:
            return self.inner(pooled)  # type: ignore[no-any-return]
        return linear(pooled.unsqueeze(1), *run.dtl).squeeze(1)


class MixedPrompts(VisualPrompts):
    """A ViT's embeddings with the plan's learned tokens, if it has any."""

    def __init__(self, inner: nn.Module, plan: Plan) -> None:
        super().__init__(inner, nn.Parameter(torch.empty(0), requires_grad=False))
        self.plan = plan

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Hidden states (N, 1 + P, D) -> (N, 1 + n + P, D)."""
        if self.plan.prompt is None:
            return self.inner(*args, **kwargs)
        self.tokens = nn.Parameter(self.plan.prompt, requires_grad=False)
        return super().forward(*args, **kwargs)


def norm_sites(part: Part) -> dict[str, str]:
    """Path of each LayerNorm that the part's answer depends on -> its site, in the modules' order."""
    found = {}
    for path, module in part.encoder.named_modules():
        if isinstance(module, nn.LayerNorm) and (site := part.family.site(f"{path}.weight")):
            found[path] = f"{part.name}/{site.removesuffix('.weight')}"
    return found


def wrap(part: Part, plan: Plan) -> None:
    """Make the part's modules read the plan. The part is a copy of its own: see `adapters.sharing`."""
    encoder, family = part.encoder, part.family
    for number, path in enumerate(norm_sites(part)):
        norm = encoder.get_submodule(path)
        assert isinstance(norm, nn.LayerNorm)  # noqa: S101 - `norm_sites` names no other
        encoder.set_submodule(path, MixedNorm(norm, plan, number))
    for path, module in list(encoder.named_modules()):
        if isinstance(module, nn.Linear):
            place = (family.site(f"{path}.weight") or "").removesuffix(".weight")
            if place.partition("/")[2] in {f"mha/{target}" for target in TARGETS}:
                encoder.set_submodule(path, MixedModule(module, plan, f"{part.name}/{place}"))
    sublayer = MixedPostNorm if family.post_norm else MixedModule
    for number, layer in enumerate(part.layers):
        for name, path in family.outputs.items():
            place = f"{part.name}/L{number:02d}/{name}"
            layer.set_submodule(path, sublayer(layer.get_submodule(path), plan, place))
    layers = MixedLayers(part.layers, plan, newest_only=part.name == "user")
    part.replace_layers(nn.ModuleList([layers]))
    if family.modality == "image":
        encoder.set_submodule("embeddings", MixedPrompts(encoder.get_submodule("embeddings"), plan))
