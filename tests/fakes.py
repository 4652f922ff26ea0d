"""Tiny real backbones: encoders of 2 layers, 32 wide, with random weights that are always the same."""

from pathlib import Path

import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from torch import Tensor
from transformers import (
    AutoConfig,
    AutoModel,
    PreTrainedConfig,
    PreTrainedTokenizerFast,
    ViTImageProcessorPil,
)

from app.model import adapters
from app.model.backbone import Backbone, fresh, save_backbone
from app.model.checkpoint import adapter_to_bytes
from app.model.families import FAMILIES
from app.model.methods import AdapterConfig
from app.model.transrec import TransRecConfig
from tests.pictures import encoded, noise

SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
LETTERS = "abcdefghijklmnopqrstuvwxyz0123456789"
ENCODER = "directory:encoder"
SMALL = AdapterConfig(bottleneck=4, user_bottleneck=2)


TINY = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 64,
    "initializer_range": 0.5,  # so that contents differ although nothing was learned
}
IMAGE = {"image_size": 32, "patch_size": 8}


def build_backbone(directory: Path, model_type: str = "bert") -> str:
    """Write a whole backbone of a family into `directory`; returns its fingerprint."""
    torch.manual_seed(0)
    encoder, image = directory / "encoder", FAMILIES[model_type].modality == "image"
    if image:
        ViTImageProcessorPil(image_mean=[0.5] * 3, image_std=[0.25] * 3).save_pretrained(encoder)
    else:
        _tokenizer().save_pretrained(encoder)
    AutoModel.from_config(tiny_config(model_type)).save_pretrained(encoder)  # type: ignore[no-untyped-call]
    config = TransRecConfig(image_size=(32, 24), length=10) if image else TransRecConfig()
    model, _ = fresh(ENCODER, config, directory)
    return save_backbone(directory, f"tiny-{model_type}", ENCODER, model, directory)


def tiny_config(model_type: str) -> PreTrainedConfig:
    """The encoder's configuration."""
    vocabulary = {
        "vocab_size": len(SPECIAL) + 2 * len(LETTERS),
        "max_position_embeddings": 128,
        "pad_token_id": 0,
    }
    return AutoConfig.for_model(
        model_type, **TINY, **(IMAGE if FAMILIES[model_type].modality == "image" else vocabulary)
    )


def picture(seed: int) -> bytes:
    """A small picture that differs from those of other seeds, encoded."""
    return encoded(noise(seed, (8, 12)), "PNG")


def adapter_weights(backbone: Backbone, seed: int, config: AdapterConfig = SMALL) -> dict[str, Tensor]:
    """Weights of an adapter that ranks otherwise than the bare backbone."""
    # A generator of its own: a server in another thread of the process may draw from the global one.
    generator = torch.Generator().manual_seed(seed)
    untrained = adapters.extract(adapters.attach(backbone.model, config))
    weights: dict[str, Tensor] = {}
    for name, tensor in untrained.items():
        base = tensor if "/ln." in name else torch.zeros_like(tensor)
        weights[name] = base + 0.3 * torch.randn(tensor.shape, generator=generator)
    return weights


def adapter_bytes(backbone: Backbone, seed: int, config: AdapterConfig = SMALL) -> bytes:
    """The same as a file that can be uploaded."""
    return adapter_to_bytes(adapter_weights(backbone, seed, config), config, backbone.fingerprint)


def _tokenizer() -> PreTrainedTokenizerFast:
    vocabulary = SPECIAL + list(LETTERS) + [f"##{letter}" for letter in LETTERS]
    ids = {token: i for i, token in enumerate(vocabulary)}
    tokenizer = Tokenizer(models.WordPiece(ids, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", ids["[SEP]"]), ("[CLS]", ids["[CLS]"]))
    return PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=tokenizer,
        pad_token="[PAD]",
        unk_token="[UNK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        mask_token="[MASK]",
    )
