"""A tiny real backbone: BERT of 2 layers, 32 wide, with random weights that are always the same."""

from pathlib import Path

import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from torch import Tensor
from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

from app.model import adapters
from app.model.adapters import AdapterConfig
from app.model.backbone import Backbone, fresh, save_backbone
from app.model.checkpoint import adapter_to_bytes
from app.model.transrec import TransRecConfig

SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
LETTERS = "abcdefghijklmnopqrstuvwxyz0123456789"
ENCODER = "directory:encoder"
SMALL = AdapterConfig(bottleneck=4, user_bottleneck=2)


def build_backbone(directory: Path) -> str:
    """Write a whole backbone into `directory`; returns its fingerprint."""
    torch.manual_seed(0)
    encoder = directory / "encoder"
    _tokenizer().save_pretrained(encoder)
    config = BertConfig(
        vocab_size=len(SPECIAL) + 2 * len(LETTERS),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        initializer_range=0.5,  # so that texts differ although nothing was learned
    )
    BertModel(config).save_pretrained(encoder)
    model, _ = fresh(ENCODER, TransRecConfig(), directory)
    return save_backbone(directory, "tiny", ENCODER, model, directory)


def adapter_weights(backbone: Backbone, seed: int, config: AdapterConfig = SMALL) -> dict[str, Tensor]:
    """Weights of an adapter that ranks otherwise than the bare backbone."""
    # A generator of its own: a server in another thread of the process may draw from the global one.
    generator = torch.Generator().manual_seed(seed)
    untrained = adapters.extract(adapters.attach(backbone.model, config), config)
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
