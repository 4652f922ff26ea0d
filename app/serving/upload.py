"""Uploaded adapters: nothing is stored unless it would serve."""

from app.core.errors import Invalid
from app.model import adapters
from app.model.adapters import AdapterConfig
from app.model.backbone import Backbone
from app.model.checkpoint import adapter_from_bytes, adapter_to_bytes


def accept_adapter(backbone: Backbone, data: bytes) -> tuple[bytes, AdapterConfig]:
    """Check an uploaded adapter against the backbone; return it as it is stored, and its config.

    Raises `Invalid` with the reason and the remedy.
    """
    weights, config, fingerprint = adapter_from_bytes(data)
    if fingerprint != backbone.fingerprint:
        raise Invalid(
            f"The adapter was trained on another backbone ({fingerprint[:12]!r}); this service has "
            f"{backbone.fingerprint[:12]!r}. Train it on this one.",
            expected=backbone.fingerprint,
        )
    adapters.load(backbone.model, config, weights)
    return adapter_to_bytes(weights, config, fingerprint), config
