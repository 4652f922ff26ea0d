"""An adapter as bytes: safetensors whose metadata say what it is and which backbone it fits."""

import json
from dataclasses import dataclass
from typing import Any

import torch
from pydantic import ValidationError
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from app.core.errors import Invalid
from app.model import residual
from app.model.methods import AdapterConfig

MAX_HEADER_BYTES = 1024**2  # some hundred tensors of a hundred bytes each, ten times over
_REMEDY = "Download an adapter of this service to see how one is laid out."


def adapter_to_bytes(weights: dict[str, Tensor], config: AdapterConfig, fingerprint: str) -> bytes:
    """Tensors by site name -> safetensors that `adapter_from_bytes` reads back.

    Weights are float32; a residual, of which there are many rows, is float16 and bytes.
    """
    tensors = {name: _as_stored(name, weights[name]) for name in sorted(weights)}
    metadata = {
        "method": config.method,
        "config": config.model_dump_json(exclude_none=True),
        "backbone_fingerprint": fingerprint,
    }
    return save(tensors, metadata)


@dataclass(frozen=True)
class Header:
    """What a file says of itself: the shapes by site name, what they belong to."""

    shapes: dict[str, torch.Size]
    config: AdapterConfig
    fingerprint: str


def read_header(data: bytes) -> Header:
    """Read the header alone, so that nothing is allocated for tensors that do not fit; raises `Invalid`.

    Whether the tensors are where it says is for `adapter_from_bytes`.
    """
    # The file's layout: the header's length in 8 bytes, the header in JSON, the tensors.
    length = int.from_bytes(data[:8], "little")
    if length > min(MAX_HEADER_BYTES, len(data) - 8):
        raise _broken(f"its header is longer than the file or than {MAX_HEADER_BYTES} bytes")
    try:
        found = json.loads(data[8 : 8 + length])
        metadata = dict(found.pop("__metadata__", None) or {})
        shapes = {name: torch.Size(info["shape"]) for name, info in found.items()}
    except (ValueError, RecursionError, AttributeError, TypeError, KeyError, OverflowError) as error:
        raise _broken(f"its header cannot be read ({type(error).__name__})") from error
    config = _config(metadata)
    return Header(shapes, config, str(metadata["backbone_fingerprint"]))


def adapter_from_bytes(data: bytes) -> tuple[dict[str, Tensor], AdapterConfig, str]:
    """Read (weights in float32, config, backbone fingerprint); raises `Invalid` for anything else.

    Whether the weights fit a model is for `app.model.adapters.load` to say.
    """
    header = read_header(data)
    try:
        tensors = load(data)
    except (SafetensorError, KeyError, ValueError, TypeError, RuntimeError) as error:
        raise _broken(str(error)[:300]) from error
    # Floats of other widths become float32 here, so that one too big for it is found as infinite.
    weights = {k: v.to(torch.float32) if v.dtype.is_floating_point else v for k, v in tensors.items()}
    return weights, header.config, header.fingerprint


def _as_stored(name: str, tensor: Tensor) -> Tensor:
    dtype = {residual.ITEMS: torch.uint8, residual.VECTORS: torch.float16}.get(name, torch.float32)
    return tensor.detach().cpu().to(dtype).contiguous()


def _broken(reason: str) -> Invalid:
    return Invalid(f"The adapter is not a whole safetensors file: {reason}. {_REMEDY}")


def _config(metadata: dict[str, Any]) -> AdapterConfig:
    for key in ("method", "config", "backbone_fingerprint"):
        if key not in metadata:
            raise Invalid(f"The adapter's safetensors metadata lack '{key}'. {_REMEDY}")
    try:
        config = AdapterConfig.model_validate_json(metadata["config"])
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(map(str, first["loc"])) or "config"
        raise Invalid(f"The adapter's config is wrong at '{field}': {first['msg']}. {_REMEDY}") from error
    if metadata["method"] != config.method:
        raise Invalid(f"The adapter's metadata name two methods, one of them in 'config'. {_REMEDY}")
    return config
