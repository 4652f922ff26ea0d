"""How a slot is made of an adapter's weights, for every method."""

import re
from collections.abc import Mapping
from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from app.model import adapters, lora
from app.model.bank_slots import BARE, AdapterWeights, Dense, Shelf, Slot
from app.model.bottlenecks import phm_weight
from app.model.device import has_fast_bf16
from app.model.families import PartName
from app.model.k_adapter import KAdapter
from app.model.methods import AdapterConfig, Placement
from app.model.mixed import Activation, Affine, Beside, norm_sites
from app.model.transrec import TransRec

ROOMS: dict[PartName, tuple[str, ...]] = {"item": ("item", adapters.DTL), "user": ("user",)}
"""First names of the sites that a bank of that part concerns itself with."""
NARROWEST = 8
"""Bottlenecks are padded with zeros to powers of two from here up, so that few shapes share the stacks."""


class SlotMaker:
    """Makes the slots of one part of one backbone, on that backbone's device.

    Matrices that autocast would round anyway are held rounded: half the bytes, and no rounding a forward.
    """

    def __init__(self, model: TransRec, name: PartName) -> None:
        self.model, self.name, self._like = model, name, model.dtl.weight
        like = self._like
        bf16 = name == "item" and like.dtype == torch.float32 and has_fast_bf16(like.device)
        self._rounded = torch.bfloat16 if bf16 else like.dtype
        self._shelves: dict[Shelf, Shelf] = {}
        self._norm_sites = [*norm_sites(adapters.part(model, name)).values()]
        self._own = {site.name: getattr(site.module, site.attribute) for site in adapters.sites(model)}
        self.norms, self.dtl = self._norms({}), self._dtl(self._own)  # the backbone's

    def __call__(self, adapter: AdapterWeights) -> Slot:
        """Copy to the device what the adapter has for this part."""
        config = adapter.config
        if config is None or self.is_bare(adapter):
            return BARE
        of = (*(f"{room}/" for room in ROOMS[self.name]), adapters.RULE)
        mine = {k: v.to(self._like) for k, v in adapter.weights.items() if k.startswith(of)}
        if config.method in ("fta", "ftn"):
            return Slot(whole=self._whole(mine), kind=adapter.key, nbytes=_bytes(*mine.values()))
        if config.method == "side" and self.name == "item":
            return Slot(whole=self._attached(config, mine), kind=adapter.key, nbytes=_bytes(*mine.values()))
        shelf, changes = self._changes(config, mine)
        norms = self._norms(mine) if any("/ln." in k for k in mine) else None
        dtl = self._dtl(mine) if f"{adapters.DTL}/weight" in mine else None
        prompt, beside = mine.get("item/prompt"), self._beside(config, mine)
        kind = prompt.shape if prompt is not None else "beside" if beside else None
        kept = [v for k, v in mine.items() if "/k_adapter/" in k or "/fusion." in k]
        kept += [*chain(*changes.values()), *(dtl or ()), *(t for t in (norms, prompt) if t is not None)]
        return Slot(shelf, changes, norms, dtl, prompt, beside, kind=kind, nbytes=_bytes(*kept))

    def is_bare(self, adapter: AdapterWeights) -> bool:
        """Whether it leaves this part as the backbone has it."""
        return adapter.config is None or adapter.rooms.isdisjoint(ROOMS[self.name])

    def _norms(self, weights: Mapping[str, Tensor]) -> Tensor:
        all_of = {**self._own, **weights}
        pairs = [torch.stack([all_of[f"{s}.weight"], all_of[f"{s}.bias"]]) for s in self._norm_sites]
        return torch.stack(pairs)

    def _dtl(self, weights: Mapping[str, Tensor]) -> Affine:
        weight, bias = (weights[f"{adapters.DTL}/{k}"].to(self._rounded) for k in ("weight", "bias"))
        return weight, bias.unsqueeze(0)

    def _whole(self, weights: Mapping[str, Tensor]) -> TransRec:
        mine = adapters.sharing(self.model)
        for site in adapters.sites(mine):
            if site.name in weights:
                own = nn.Parameter(weights[site.name], requires_grad=False)
                setattr(site.module, site.attribute, own)
        return mine

    def _attached(self, config: AdapterConfig, weights: Mapping[str, Tensor]) -> TransRec:
        mine = adapters.attach(self.model, config).to(self._like.dtype)
        with torch.no_grad():
            for name, tensor in weights.items():
                mine.adapter[name].copy_(tensor)
        return mine.requires_grad_(False).eval()

    def _changes(
        self, config: AdapterConfig, weights: Mapping[str, Tensor]
    ) -> tuple[Shelf | None, dict[str, Dense]]:
        read, activation, reads = _reader(config)
        end = re.compile(r"(.+)(?:/down\.(?:weight|left)|\.lora_a)")
        found = (end.fullmatch(name) for name in weights if "/k_adapter/" not in name)
        dense = {match.group(1): read(weights, match.group(1)) for match in found if match}
        if not dense:
            return None, {}
        k = max(NARROWEST, *(1 << (len(down) - 1).bit_length() for down, *_ in dense.values()))
        shelf = Shelf(tuple(sorted(dense)), k, activation, reads)
        padded = {
            place: tuple(t.to(self._rounded) for t in pad(tensors, k)) for place, tensors in dense.items()
        }
        return self._shelves.setdefault(shelf, shelf), padded  # one object of each, quick to compare

    def _beside(self, config: AdapterConfig, weights: Mapping[str, Tensor]) -> Beside | None:
        fusion = {k.partition("/fusion.")[2]: v for k, v in weights.items() if "/fusion." in k}
        if not fusion:
            return None
        part = adapters.part(self.model, self.name)
        k = (config.bottleneck if self.name == "item" else config.user_bottleneck) or 0
        by_layer: dict[int, dict[str, Tensor]] = {}
        for site, tensor in weights.items():
            if match := re.fullmatch(r"\w+/L(\d+)/k_adapter/(.+)", site):
                by_layer.setdefault(int(match.group(1)), {})[match.group(2)] = tensor
        return Beside(
            {number: _filled(KAdapter, state, part.width, k) for number, state in by_layer.items()},
            _filled(nn.Linear, fusion, 2 * part.width, part.width),
        )


def _reader(config: AdapterConfig) -> tuple[Any, Activation, Placement]:
    if config.method == "lora":
        return _lora, "none", "parallel"
    if config.method == "compacter":
        return _compacter, "gelu", "serial"
    return _bottleneck, "relu", config.placement or "serial"


def pad(dense: Dense, k: int) -> Dense:
    """The same with k columns of zeros at the bottleneck in all."""
    down, down_bias, up, up_bias = dense
    more = k - len(down)
    return F.pad(down, (0, 0, 0, more)), F.pad(down_bias, (0, more)), F.pad(up, (0, more)), up_bias


def _bottleneck(weights: Mapping[str, Tensor], place: str) -> Dense:
    down, up = (weights[f"{place}/{half}.weight"] for half in ("down", "up"))
    return down, weights[f"{place}/down.bias"][None], up, weights[f"{place}/up.bias"][None]


def _compacter(weights: Mapping[str, Tensor], place: str) -> Dense:
    down, up = (
        phm_weight(weights[adapters.RULE], weights[f"{place}/{half}.left"], weights[f"{place}/{half}.right"])
        for half in ("down", "up")
    )
    return down.T, weights[f"{place}/down.bias"][None], up.T, weights[f"{place}/up.bias"][None]


def _lora(weights: Mapping[str, Tensor], place: str) -> Dense:
    a, b = weights[f"{place}.lora_a"], weights[f"{place}.lora_b"]
    scale = lora.ALPHA / len(a)
    return a, a.new_zeros(1, len(a)), scale * b, b.new_zeros(1, len(b))


def _filled(make: Any, state: Mapping[str, Tensor], *sizes: int) -> Any:
    with torch.device("meta"):
        module: nn.Module = make(*sizes)
    module.load_state_dict(state, assign=True)
    return module.requires_grad_(False).eval()


def _bytes(*tensors: Tensor) -> int:
    return sum(t.numel() * t.element_size() for t in tensors)
