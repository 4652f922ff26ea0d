"""Uploaded adapters: nothing is stored unless it would serve."""

import io
from collections.abc import Sequence

import numpy as np
import torch
from PIL import Image

from app.core.errors import Invalid
from app.model import adapters
from app.model.backbone import Backbone
from app.model.checkpoint import adapter_from_bytes, adapter_to_bytes, read_header
from app.model.encode import encode_histories, encode_items, popularity_bias, prior_of
from app.model.methods import AdapterConfig
from app.model.transrec import TransRec

TEXTS = ("a", "fresh bread, private, 2 lb", "The Adventures of Dollie (1908) | Action, Short")
COLOURS = ("white", "black", "orange")


def accept_adapter(backbone: Backbone, data: bytes) -> tuple[bytes, AdapterConfig]:
    """Check an uploaded adapter against the backbone; return it as it is stored, and its config.

    Raises `Invalid` with the reason and the remedy.
    """
    header = read_header(data)
    fingerprint, config = header.fingerprint, header.config
    if fingerprint != backbone.fingerprint:
        raise Invalid(
            f"The adapter was trained on another backbone ({fingerprint[:12]!r}); this service has "
            f"{backbone.fingerprint[:12]!r}. Train it on this one.",
            expected=backbone.fingerprint,
        )
    adapters.check_header(header.shapes, backbone.model, config)  # before they are read
    weights, _, _ = adapter_from_bytes(data)
    _try_out(backbone, adapters.load(backbone.model, config, weights))
    return adapter_to_bytes(weights, config, fingerprint), config


def _try_out(backbone: Backbone, model: TransRec) -> None:
    """Finite weights can still overflow: such an adapter would load nowhere."""
    probes: Sequence[str | bytes] = TEXTS if backbone.modality == "text" else [_image(c) for c in COLOURS]
    with np.errstate(over="ignore"):
        vectors = encode_items(model, backbone.inputs(probes))
        user = encode_histories(model, torch.from_numpy(vectors), [range(len(probes))])
        bias = popularity_bias(prior_of(model), np.array([10**9]))
    if not all(np.isfinite(numbers).all() for numbers in (vectors, user, bias)):
        raise Invalid("The adapter's weights are so large that its vectors overflow. Train it again.")


def _image(colour: str) -> bytes:
    data = io.BytesIO()
    Image.new("RGB", (64, 64), colour).save(data, "PNG")
    return data.getvalue()
