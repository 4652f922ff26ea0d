"""Exact parameter counts, on the meta device: no weights are read or allocated."""

from typing import Any

import torch

from app.core.errors import Invalid
from app.model.adapters import AdapterConfig, attach, tensors
from app.model.transrec import TransRec, TransRecConfig, build_encoder

# Architectures by the field's names: enough of their configs to count every parameter.
ARCHITECTURES: dict[str, dict[str, Any]] = {
    "bert-base": {"model_type": "bert"},
    "roberta-base": {
        "model_type": "roberta",
        "vocab_size": 50265,
        "max_position_embeddings": 514,
        "type_vocab_size": 1,
    },
    "minilm": {
        "model_type": "bert",
        "hidden_size": 384,
        "num_hidden_layers": 6,
        "num_attention_heads": 12,
        "intermediate_size": 1536,
    },
}


def count_parameters(encoder: str, config: AdapterConfig) -> dict[str, Any]:
    """Trainable parameters of the method beside those of full fine-tuning (all but the unused pooler)."""
    from transformers import AutoConfig

    if encoder in ARCHITECTURES:
        options = dict(ARCHITECTURES[encoder])
        encoder_config = AutoConfig.for_model(options.pop("model_type"), **options)
    else:
        try:
            encoder_config = AutoConfig.from_pretrained(encoder, local_files_only=True)
        except (OSError, ValueError) as error:
            known = ", ".join(ARCHITECTURES)
            raise Invalid(f"Unknown encoder '{encoder}'. Name a directory or one of: {known}.") from error
    with torch.device("meta"):
        model = TransRec(build_encoder(encoder_config), TransRecConfig())
        full = sum(p.numel() for p in model.parameters())
        trainable = sum(p.numel() for p in tensors(attach(model, config), config).values())
    return {
        "encoder": encoder,
        **config.model_dump(),
        "trainable": trainable,
        "full": full,
        "share": round(trainable / full, 6),
    }
