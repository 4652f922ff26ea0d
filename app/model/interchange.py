"""Adapters of the item encoder from AdapterHub and to it: checkpoints of its `adapters` library.

A checkpoint is a directory, as the library's `save_adapter(directory, name, use_safetensors=True)` leaves it:

    adapter_config.json    the encoder's type, the adapter's name and its options
    adapter.safetensors    its weights by module path

What comes in computes here what it computes there, and goes out again bit for bit. What would not is refused.
"""

import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from pydantic import BaseModel, Field, ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from app.core.errors import Invalid, TooLarge
from app.model import adapters
from app.model.adapter_hub import COMMON_GROUND, MODEL_TYPES, config_of, layout_of_config, layout_of_options
from app.model.backbone import Backbone, load_backbone
from app.model.checkpoint import adapter_from_bytes, adapter_to_bytes
from app.model.methods import AdapterConfig

CONFIG, WEIGHTS = "adapter_config.json", "adapter.safetensors"
MAX_CONFIG_BYTES, MAX_WEIGHTS_BYTES = 64 * 1024, 256 * 1024**2
NAME_PATTERN = r"^[A-Za-z0-9_-]{1,100}$"
# A file without a version passes for the library's ancestor's, whose "gelu" was the tanh approximation.
WRITTEN_AS = "adapters.1.3.0"
_SAVE_AGAIN = "Save it with adapters 1.x: model.save_adapter(directory, name, use_safetensors=True)."


class HubConfig(BaseModel):
    """adapter_config.json, as far as it says what the adapter computes."""

    model_type: str
    name: str = Field(pattern=NAME_PATTERN)
    version: str
    config: dict[str, Any]


def import_adapter_hub(directory: Path, model_type: str = "bert") -> tuple[dict[str, Tensor], AdapterConfig]:
    """Read a checkpoint for an encoder of that type -> (weights by site in float32, config).

    Raises `Invalid` for what we cannot represent, `TooLarge` beyond 256 MiB. Whether the weights fit a model
    is for `app.model.adapters.load` to say.
    """
    prefix = _prefix(model_type)
    hub = _read_config(_bounded(directory / CONFIG, MAX_CONFIG_BYTES))
    if hub.model_type != model_type:
        raise Invalid(
            f"The checkpoint is for an encoder of type {hub.model_type[:50]!r}, this one is '{model_type}'. "
            "Use a backbone with the encoder that the adapter was trained on."
        )
    layout = layout_of_options(hub.config)
    found = _read_weights(_bounded(directory / WEIGHTS, MAX_WEIGHTS_BYTES))
    bare = not any(name.startswith(prefix) for name in found)  # saved from a model without heads
    names = layout.names(_layers(found), hub.name, "" if bare else prefix)
    _check_names(found, names.values())
    weights = {site: found[name] for site, name in names.items()}
    return weights, config_of(layout, _width(weights, "down"))


def export_adapter_hub(
    weights: Mapping[str, Tensor], config: AdapterConfig, directory: Path, name: str, model_type: str = "bert"
) -> None:
    """Write weights by site as a checkpoint that `load_adapter(directory, use_safetensors=True)` takes.

    Raises `Invalid` for an adapter that AdapterHub has no place for, and for a name that it cannot bear.
    """
    if not re.fullmatch(NAME_PATTERN, name):
        raise Invalid(f"An adapter's name matches {NAME_PATTERN}; {name[:50]!r} does not. Choose another.")
    layout = layout_of_config(config)
    names = layout.names(_layers(weights), name, _prefix(model_type))
    _check_names(weights, names)
    width = _width(weights, "up")
    document = {
        "config": layout.all_options(width, _width(weights, "down")),
        "hidden_size": width,
        "model_type": model_type,
        "name": name,
        "version": WRITTEN_AS,
    }
    tensors = {theirs: weights[site].detach().cpu().contiguous() for site, theirs in names.items()}
    directory.mkdir(parents=True, exist_ok=True)
    save_file(tensors, directory / WEIGHTS)
    (directory / CONFIG).write_text(json.dumps(document, indent=2, sort_keys=True) + "\n")


def import_hub(directory: Path, file: Path, backbone: str) -> AdapterConfig:
    """Write a checkpoint as an adapter file of that backbone, ready to be uploaded; returns its config."""
    target = load_backbone(backbone)
    weights, config = import_adapter_hub(directory, _model_type(target))
    adapters.load(target.model, config, weights)  # raises `Invalid` where it does not fit
    file.write_bytes(adapter_to_bytes(weights, config, target.fingerprint))
    return config


def export_hub(file: Path, directory: Path, name: str, backbone: str) -> None:
    """Write an adapter file of that backbone (a download, say) as a checkpoint of that name."""
    source = load_backbone(backbone)
    weights, config, fingerprint = adapter_from_bytes(_bounded(file, MAX_WEIGHTS_BYTES).read_bytes())
    if fingerprint != source.fingerprint:
        raise Invalid(f"'{file}' was trained on another backbone than '{backbone}'. Name the one it fits.")
    adapters.load(source.model, config, weights)
    export_adapter_hub(weights, config, directory, name, _model_type(source))


def _bounded(path: Path, limit: int) -> Path:
    if not path.is_file():
        raise Invalid(f"There is no file '{path}'; pickled weights (.bin) are never read. {_SAVE_AGAIN}")
    if (size := path.stat().st_size) > limit:
        raise TooLarge(f"'{path}' has {size:,} bytes, more than {limit:,}. Name an adapter's file.")
    return path


def _read_config(path: Path) -> HubConfig:
    try:
        return HubConfig.model_validate_json(path.read_bytes())
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "the file"
        raise Invalid(f"'{path}' is wrong at '{where}': {first['msg']}. {_SAVE_AGAIN}") from error


def _read_weights(path: Path) -> dict[str, Tensor]:
    try:
        found = load_file(path)
    except (SafetensorError, KeyError, ValueError, TypeError, RuntimeError) as error:
        why = str(error)[:200]
        raise Invalid(f"'{path}' is not a whole safetensors file: {why}. {_SAVE_AGAIN}") from error
    return {k: v.to(torch.float32) if v.dtype.is_floating_point else v for k, v in found.items()}


def _check_names(found: Iterable[str], expected: Iterable[str]) -> None:
    missing, foreign = sorted({*expected} - {*found}), sorted({*found} - {*expected})
    if any(name.endswith("phm_rule") for name in missing):
        raise Invalid(
            "The checkpoint lacks compacter's shared phm_rule, which the library leaves out when it saves "
            "from a bare encoder. Save the adapter from a model with heads, such as an AutoAdapterModel."
        )
    for what, names in (("lacks", missing), ("has no use for", foreign)):
        if names:
            first = names[0][:200]
            raise Invalid(f"The adapter {what} {len(names)} tensor(s), first {first!r}. {COMMON_GROUND}")


def _layers(names: Iterable[str]) -> int:
    pattern = re.compile(r"(?:item/L|encoder\.layer\.)(\d{1,2})[/.]")
    return 1 + max((int(n) for name in names for n in pattern.findall(name)), default=0)


def _width(weights: Mapping[str, Tensor], half: str) -> int:
    # The bottleneck k of the halves "down", the encoder's D of the halves "up".
    sizes = {tensor.numel() for name, tensor in weights.items() if name.endswith(f"/{half}.bias")}
    if len(sizes) != 1:
        raise Invalid(f"The adapter's layers differ in width: {sorted(sizes)}. Train one of one width.")
    return sizes.pop()


def _prefix(model_type: str) -> str:
    if model_type not in MODEL_TYPES:
        raise Invalid(f"Adapters of a {model_type[:50]!r} encoder are not interchangeable. {COMMON_GROUND}")
    return MODEL_TYPES[model_type]


def _model_type(backbone: Backbone) -> str:
    return str(backbone.model.item_encoder.encoder.config.model_type)  # type: ignore[union-attr]
