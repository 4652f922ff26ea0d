"""Adapters: which tensors a channel owns, how they attach to the backbone, how they leave it.

"Trainable" is a set of names. Each name is a *site* of the architecture (`item/L03/mha/down.weight`),
never a library's module path, so stored adapters outlive a library's renaming.
"""

import copy
from collections.abc import Iterator, Mapping
from functools import partial

import torch
from torch import Tensor, nn

from app.core.errors import Invalid
from app.model import bottlenecks, k_adapter, lora, prompts, residual, side
from app.model.bottlenecks import Bottleneck, Compacter
from app.model.families import USER, Part, PartName, Site, family_of
from app.model.methods import METHODS, AdapterConfig
from app.model.transrec import TextEncoder, TransRec

PRIOR = "prior/weight"
RULE = "phm/rule"
DTL = "dtl"
USER_SIDE, ITEM_SIDE = ("user/", RULE), ("item/", DTL, RULE)
"""How the sites begin that each encoder needs; the user's answer alone once the items are encoded."""
PARTS: tuple[PartName, ...] = ("item", "user")


def part(model: TransRec, name: PartName) -> Part:
    """The model's item encoder or user encoder as a `Part`."""
    if name == "user":
        return Part(name, model.user_encoder, USER, model.config.dim)
    encoder: nn.Module = model.item_encoder.encoder
    return Part(name, encoder, family_of(str(encoder.config.model_type)), model.width)  # type: ignore[union-attr]


def sites(model: TransRec) -> Iterator[Site]:
    """Every parameter of a backbone by its site, in order of the forward."""
    yield from part(model, "item").sites()
    yield from (Site(f"{DTL}/{attribute}", model.dtl, attribute) for attribute in ("weight", "bias"))
    yield from part(model, "user").sites()


def check_fits(config: AdapterConfig, model: TransRec) -> None:
    """Raise `Invalid`, naming what is possible, where the method does not exist for such a backbone."""
    item = part(model, "item")
    modality, layers = item.family.modality, len(item.layers)
    if METHODS[config.method].modality not in (None, modality):
        possible = ", ".join(k for k, spec in METHODS.items() if spec.modality in (None, modality))
        raise Invalid(f"{config.method} does not exist for {modality} encoders. Use one of: {possible}.")
    positions = getattr(item.encoder.config, "max_position_embeddings", 0)  # RoBERTa counts from 2
    if config.method == "prompt" and (config.tokens or 0) + model.config.max_tokens + 2 > positions:
        most = positions - model.config.max_tokens - 2
        raise Invalid(f"The encoder has {positions} positions: tokens of a prompt are at most {most} here.")
    if config.placement == "after_norm" and modality != "text":
        raise Invalid("placement after_norm exists in text encoders only. Use serial or parallel.")
    if config.top_layers and config.top_layers > layers:
        raise Invalid(f"top_layers is {config.top_layers}, but the item encoder has {layers} layers.")


def first_layer(backbone: TransRec, config: AdapterConfig) -> int:
    """The lowest layer of the item encoder that is adapted; what lies below runs as the backbone's."""
    layers = len(part(backbone, "item").layers)
    return layers - (config.top_layers or layers)


def sharing(model: TransRec) -> TransRec:
    """A copy of the model's modules that points at the same tensors."""
    return copy.deepcopy(model, {id(t): t for t in [*model.parameters(), *model.buffers()]})


def attach(model: TransRec, config: AdapterConfig) -> TransRec:
    """A model of its own with fresh adapters that *shares* every frozen tensor with the backbone `model`.

    `model` is left as it is, so channels live side by side on one backbone and a swap is a change of
    reference: nothing is written into a module that answers requests. `mine.adapter` holds, by site, exactly
    the parameters that are trained, stored and swapped. Raises `Invalid` where the method does not fit.
    """
    check_fits(config, model)
    mine = sharing(model)
    first = first_layer(model, config)
    # Own copies first: inserting adapters moves modules to other paths.
    mine.adapter = {site.name: site.own() for site in sites(mine) if _is_tuned(site, config, first)}
    with torch.device(mine.dtl.weight.device):
        mine.adapter |= _insert(mine, config, first)
        mine.prior = None  # the backbone's is for channels without an adapter
        if config.popularity_prior:
            mine.prior = mine.adapter[PRIOR] = nn.Parameter(torch.zeros(1))
    return mine


def _is_tuned(site: Site, config: AdapterConfig, first: int) -> bool:
    """Whether a channel gets its own copy of this parameter of the backbone."""
    encoder = site.name.partition("/")[0]
    if encoder == DTL:
        return config.method == "fta" or bool(config.tune_dtl)
    # What lies below the top layers stays frozen, so that its output can be cached.
    below = site.layer < first if site.layer is not None else bool(first) and "/emb/" in site.name
    if (encoder == "item" and (below or config.method == "side")) or not config.adapts(encoder):
        return False
    if config.method in ("fta", "ftn"):
        return config.method == "fta" or site.layer is not None
    return "/ln." in site.name and (config.method == "layer_norm" or bool(config.tune_layer_norm))


def _insert(mine: TransRec, config: AdapterConfig, first: int) -> dict[str, nn.Parameter]:
    """Insert the method's modules; returns their parameters by site."""
    if config.method == "prompt":
        assert isinstance(mine.item_encoder, TextEncoder)  # noqa: S101 - `check_fits` has seen to it
        return prompts.insert_words(mine.item_encoder, config.tokens or 0)
    if config.method == "vpt":
        return prompts.insert_visual(part(mine, "item"), config.tokens or 0)
    rule = bottlenecks.new_rule() if config.method == "compacter" else None
    named = {} if rule is None else {RULE: rule}
    for name in PARTS:
        if config.adapts(name):
            if config.method == "side" and name == "item":
                named |= side.insert(part(mine, name), config.bottleneck or 0, mine.config.pooling)
                continue
            named |= _insert_into(part(mine, name), config, first if name == "item" else 0, rule)
    return named


def _insert_into(
    where: Part, config: AdapterConfig, first: int, rule: nn.Parameter | None
) -> dict[str, nn.Parameter]:
    k = (config.bottleneck if where.name == "item" else config.user_bottleneck) or 0
    if rule is not None:
        make = partial(Compacter, rule)
        found = bottlenecks.insert(where, config, k, first, make)
        return {name: p for name, p in found.items() if p is not rule}
    if config.sublayers:
        return bottlenecks.insert(where, config, k, first, Bottleneck)
    if config.method == "k_adapter":
        return k_adapter.insert(where, k, first)
    if config.method == "lora":
        return lora.insert(where, config.rank or 0, first)
    return {}


def freeze_all_but(model: TransRec, trainable: dict[str, nn.Parameter]) -> None:
    """Gradients for the named parameters only."""
    model.requires_grad_(False)
    for parameter in trainable.values():
        parameter.requires_grad_(True)


def extract(model: TransRec) -> dict[str, Tensor]:
    """The adapter's tensors by site, copied to the CPU."""
    own = {k: p.detach().cpu().clone() for k, p in model.adapter.items()}
    return own | (model.residual.tensors() if model.residual else {})


def load(model: TransRec, config: AdapterConfig, weights: dict[str, Tensor]) -> TransRec:
    """`attach` and fill with `weights`; raises `Invalid` unless names, shapes and values all fit."""
    mine = attach(model, config)
    if config.item_residual:
        mine.residual = residual.read(weights, model.config.dim)
        weights = {k: tensor for k, tensor in weights.items() if k not in residual.TENSORS}
    check(weights, {k: p.shape for k, p in mine.adapter.items()})
    with torch.no_grad():
        for name, place in mine.adapter.items():
            place.copy_(weights[name])
    return mine.requires_grad_(False).eval()


def shapes(model: TransRec, config: AdapterConfig) -> dict[str, torch.Size]:
    """The shapes of such an adapter's tensors by site; allocates none of them. Raises as `attach` does."""
    meta = {id(p): nn.Parameter(p.to("meta"), p.requires_grad) for p in model.parameters()}
    buffers = {id(b): b.to("meta") for b in model.buffers()}
    return {k: p.shape for k, p in attach(copy.deepcopy(model, meta | buffers), config).adapter.items()}


def check_header(found: Mapping[str, torch.Size], model: TransRec, config: AdapterConfig) -> None:
    """Raise `Invalid` where tensors of such shapes are not such an adapter's; nothing is allocated."""
    if config.item_residual:
        residual.check_shapes(found, model.config.dim)
        found = {k: shape for k, shape in found.items() if k not in residual.TENSORS}
    check_shapes(found, shapes(model, config))


def check_shapes(found: Mapping[str, torch.Size], expected: Mapping[str, torch.Size]) -> None:
    """Raise `Invalid` naming the first missing, foreign or misshapen tensor."""
    missing, foreign = sorted(expected.keys() - found.keys()), sorted(found.keys() - expected.keys())
    if missing:
        raise Invalid(f"The adapter lacks {len(missing)} tensor(s), first '{missing[0]}'. {_REMEDY}")
    if foreign:
        raise Invalid(
            f"The adapter has {len(foreign)} unknown tensor(s), first '{foreign[0][:80]}'. {_REMEDY}"
        )
    for name, shape in expected.items():
        if found[name] != shape:
            raise Invalid(
                f"Tensor '{name}' has shape {str(list(found[name]))[:80]}, expected {list(shape)}. {_REMEDY}"
            )


def check(weights: dict[str, Tensor], expected: dict[str, torch.Size]) -> None:
    """Raise `Invalid` naming the first missing, foreign, misshapen or non-finite tensor."""
    check_shapes({k: v.shape for k, v in weights.items()}, expected)
    for name in expected:
        if not weights[name].dtype.is_floating_point:
            raise Invalid(f"Tensor '{name}' is {weights[name].dtype}, expected a float type. {_REMEDY}")
        if not torch.isfinite(weights[name]).all():
            raise Invalid(f"Tensor '{name}' holds NaN or infinite values. Train the adapter again.")


_REMEDY = "Export it with the same method and config that you upload, against this service's backbone."
