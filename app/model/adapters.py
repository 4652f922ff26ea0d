"""Adapters: which tensors a channel owns, how they attach to the backbone, how they leave it.

"Trainable" is a set of names. Each name is a *site* of the architecture (`item/L03/mha/down.weight`),
never a library's module path, so stored adapters outlive a library's renaming.
"""

import copy
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, Self

import torch
from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import Tensor, nn
from torch.nn import functional as F

from app.core.errors import Invalid
from app.model.transrec import TransRec

DTL_SITE = "dtl"
PRIOR = "prior/weight"


class AdapterConfig(BaseModel):
    """What an adapter is made of. A bottleneck of 0 leaves that encoder without adapters."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    method: Literal["houlsby"] = "houlsby"
    bottleneck: int = Field(64, ge=0, le=1024, description="width k inside the item encoder")
    user_bottleneck: int = Field(16, ge=0, le=256, description="width k_u inside the user encoder")
    tune_layer_norm: bool = Field(True, description="own copies of every LayerNorm of both encoders")
    tune_dtl: bool = Field(True, description="own copy of the DTL; the paper keeps it frozen")
    popularity_prior: bool = Field(
        True, description="one more number: score = user . item + prior * log(1 + interactions of the item)"
    )

    @model_validator(mode="after")
    def _trains_something(self) -> Self:
        if not (self.bottleneck or self.user_bottleneck or self.tune_layer_norm or self.tune_dtl):
            raise ValueError(
                "nothing would be trained: set bottleneck or user_bottleneck above 0, "
                "tune_layer_norm or tune_dtl"
            )
        return self


class Bottleneck(nn.Module):
    """x + Up(ReLU(Down(x))): eq. 4 of the paper, Houlsby et al. 2019. (..., D) -> (..., D)."""

    def __init__(self, width: int, bottleneck: int) -> None:
        super().__init__()
        self.down = nn.Linear(width, bottleneck)
        self.up = nn.Linear(bottleneck, width)
        for layer in (self.down, self.up):
            nn.init.normal_(layer.weight, std=0.01)
            nn.init.zeros_(layer.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Same shape in and out; near the identity until trained."""
        change: Tensor = self.up(F.relu(self.down(x)))
        return x + change


@dataclass(frozen=True)
class Site:
    """A place in the model: `dropout` and `norm` name attributes of `parent` (dropout may be absent)."""

    name: str
    parent: nn.Module
    dropout: str | None
    norm: str

    @property
    def layer_norm(self) -> nn.LayerNorm:
        """The LayerNorm that follows this place."""
        return getattr(self.parent, self.norm)  # type: ignore[no-any-return]


def sites(model: TransRec) -> Iterator[Site]:
    """Every place of a BERT-family item encoder and of the user encoder, in order of the forward."""
    encoder = model.item_encoder.encoder
    yield Site("item/emb", encoder.embeddings, None, "LayerNorm")  # type: ignore[arg-type]
    for i, layer in enumerate(encoder.encoder.layer):  # type: ignore[union-attr, arg-type]
        yield Site(f"item/L{i:02d}/mha", layer.attention.output, "dropout", "LayerNorm")
        yield Site(f"item/L{i:02d}/ffn", layer.output, "dropout", "LayerNorm")
    yield Site("user/emb", model.user_encoder, None, "norm")
    for i, block in enumerate(model.user_encoder.blocks):
        yield Site(f"user/L{i:02d}/mha", block, "mha_dropout", "mha_norm")
        yield Site(f"user/L{i:02d}/ffn", block, "ffn_dropout", "ffn_norm")


def attach(model: TransRec, config: AdapterConfig) -> TransRec:
    """A model of its own with fresh adapters that *shares* every frozen tensor with `model`.

    `model` is left as it is, so channels live side by side on one backbone and a swap is a
    change of reference: nothing is written into a module that answers requests.
    """
    shared = [*model.parameters(), *model.buffers()]
    mine = copy.deepcopy(model, {id(t): t for t in shared})
    for site in list(sites(mine)):
        width = config.bottleneck if site.name.startswith("item/") else config.user_bottleneck
        if site.dropout is not None and width:
            adapter = Bottleneck(site.layer_norm.normalized_shape[0], width)
            adapter.to(site.layer_norm.weight.device)
            setattr(site.parent, site.dropout, nn.Sequential(getattr(site.parent, site.dropout), adapter))
        if config.tune_layer_norm:
            own(site.layer_norm)
    if config.tune_dtl:
        own(mine.dtl)
    if config.popularity_prior:
        mine.prior = nn.Parameter(torch.zeros(1, device=mine.dtl.weight.device))
    return mine


def own(module: nn.Module) -> None:
    """Replace the module's shared tensors by copies of its own."""
    for name, tensor in list(module.named_parameters(recurse=False)):
        setattr(module, name, nn.Parameter(tensor.detach().clone()))


def tensors(model: TransRec, config: AdapterConfig) -> dict[str, nn.Parameter]:
    """The adapter's parameters by site name: exactly what is trained, stored and swapped."""
    named: dict[str, nn.Parameter] = {}
    for site in sites(model):
        place = getattr(site.parent, site.dropout) if site.dropout else None
        if isinstance(place, nn.Sequential):
            named |= {f"{site.name}/{k}": p for k, p in place[1].named_parameters()}
        if config.tune_layer_norm:
            named |= {f"{site.name}/ln.{k}": p for k, p in site.layer_norm.named_parameters()}
    if config.tune_dtl:
        named |= {f"{DTL_SITE}/{k}": p for k, p in model.dtl.named_parameters()}
    if model.prior is not None:
        named[PRIOR] = model.prior
    return named


def freeze_all_but(model: TransRec, trainable: dict[str, nn.Parameter]) -> None:
    """Gradients for the named parameters only."""
    model.requires_grad_(False)
    for parameter in trainable.values():
        parameter.requires_grad_(True)


def extract(model: TransRec, config: AdapterConfig) -> dict[str, Tensor]:
    """The adapter's weights, copied to the CPU."""
    return {k: p.detach().cpu().clone() for k, p in tensors(model, config).items()}


def load(model: TransRec, config: AdapterConfig, weights: dict[str, Tensor]) -> TransRec:
    """`attach` and fill with `weights`; raises `Invalid` unless names, shapes and values all fit."""
    mine = attach(model, config)
    places = tensors(mine, config)
    check(weights, {k: p.shape for k, p in places.items()})
    with torch.no_grad():
        for name, place in places.items():
            place.copy_(weights[name])
    return mine.requires_grad_(False).eval()


def check(weights: dict[str, Tensor], expected: dict[str, torch.Size]) -> None:
    """Raise `Invalid` naming the first missing, foreign, misshapen or non-finite tensor."""
    missing, foreign = sorted(expected.keys() - weights.keys()), sorted(weights.keys() - expected.keys())
    if missing:
        raise Invalid(f"The adapter lacks {len(missing)} tensor(s), first '{missing[0]}'. {_REMEDY}")
    if foreign:
        raise Invalid(f"The adapter has {len(foreign)} unknown tensor(s), first '{foreign[0]}'. {_REMEDY}")
    for name, shape in expected.items():
        if weights[name].shape != shape:
            raise Invalid(
                f"Tensor '{name}' has shape {list(weights[name].shape)}, expected {list(shape)}. {_REMEDY}"
            )
        if not weights[name].dtype.is_floating_point:
            raise Invalid(f"Tensor '{name}' is {weights[name].dtype}, expected a float type. {_REMEDY}")
        if not torch.isfinite(weights[name]).all():
            raise Invalid(f"Tensor '{name}' holds NaN or infinite values. Train the adapter again.")


_REMEDY = "Export it with the same method and config that you upload, against this service's backbone."
