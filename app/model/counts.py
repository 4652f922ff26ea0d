"""Exact parameter counts, on the meta device: no weights are read or allocated."""

from typing import Any

import torch

from app.core.errors import Invalid
from app.model.adapters import attach, sites
from app.model.backbone import build_encoder
from app.model.families import family_of
from app.model.methods import AdapterConfig, published
from app.model.transrec import TransRec, TransRecConfig

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
    "vit-base": {"model_type": "vit"},
    "vit-mae-base": {"model_type": "vit_mae"},
    "dinov2-small": {
        "model_type": "dinov2",
        "hidden_size": 384,
        "num_attention_heads": 6,
        "patch_size": 14,
        "image_size": 518,
    },
}

IMAGE_LENGTH = 10  # positions of the user encoder in the paper's image experiments; 20 for texts

PAPER_ROWS: tuple[tuple[str, AdapterConfig], ...] = (
    ("Houlsby", published("houlsby")),
    ("Pfeiffer (after MHA)", published("pfeiffer")),
    ("FFN only", published("ffn")),
    ("MHA++", published("mha++")),
    ("FFN++", published("ffn++")),
    ("Compacter", published("compacter")),
    ("K-Adapter", published("k_adapter")),
    ("LayerNorm tuning", published("layer_norm")),
    ("prompt tuning (text)", published("prompt")),
    ("VPT (image)", published("vpt")),
    ("Houlsby w/o LN", published("houlsby", tune_layer_norm=False)),
    ("Houlsby w/o LN, items only", published("houlsby", tune_layer_norm=False, encoders="item")),
    ("Houlsby w/o LN, users only", published("houlsby", tune_layer_norm=False, encoders="user")),
    ("FTA", published("fta")),
)
"""The table of trainable parameters: model.md section 2, tables 3 to 5 of the paper."""


def count_parameters(encoder: str, config: AdapterConfig) -> dict[str, Any]:
    """Trainable parameters of the method beside those of full fine-tuning (all but the unused pooler)."""
    model = _meta_model(encoder)
    full = sum(getattr(site.module, site.attribute).numel() for site in sites(model))
    with torch.device("meta"):
        trainable = sum(p.numel() for p in attach(model, config).adapter.values())
    return {
        "trainable": trainable,
        "full": full,
        "share": round(trainable / full, 6),
        "encoder": encoder,
        **config.model_dump(exclude_none=True),
    }


def paper_table(text: str = "bert-base", image: str = "vit-base") -> list[dict[str, Any]]:
    """The paper's methods on a text and on an image encoder; None where a method does not exist."""
    rows: list[dict[str, Any]] = []
    for name, config in PAPER_ROWS:
        row: dict[str, Any] = {"name": name}
        for encoder in (text, image):
            try:
                row[encoder] = count_parameters(encoder, config)
            except Invalid:
                row[encoder] = None
        rows.append(row)
    return rows


def _meta_model(encoder: str) -> TransRec:
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
    image = family_of(encoder_config.model_type).modality == "image"
    config = TransRecConfig(image_size=(224, 224), length=IMAGE_LENGTH) if image else TransRecConfig()
    with torch.device("meta"):
        return TransRec(build_encoder(encoder_config), config)
