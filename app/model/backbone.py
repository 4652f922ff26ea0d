"""A backbone: the frozen pretrained TransRec that every channel shares, as a directory on disk.

    backbone.json              encoder source, sizes, fingerprint
    dtl.safetensors            the DTL
    user_encoder.safetensors   the user encoder
    item_encoder.safetensors   only the encoder tensors that pretraining changed (may be absent)
    README.md                  the model card

The encoder itself is named by its source: `package:<python package>` (its weights come from the package
registry), `directory:<path>` or `hub:<name>`; a hub is asked only when the user named one of its models.
"""

import hashlib
import importlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from app.core.errors import Invalid
from app.core.names import Modality
from app.model.families import family_of
from app.model.inputs import ImageReader, Inputs, Reader, TextReader
from app.model.transrec import TransRec, TransRecConfig

SHIPPED = Path(__file__).parent.parent / "backbones"
PARTS = ("item_encoder", "dtl", "user_encoder")
SIDECAR = "backbone.json"


@dataclass(frozen=True)
class Backbone:
    """A loaded backbone. `fingerprint` names these exact weights: adapters fit no other."""

    name: str
    encoder: str
    model: TransRec
    reader: Reader
    fingerprint: str

    @property
    def modality(self) -> Modality:
        """What its items are made of."""
        return "text" if self.model.config.image_size is None else "image"

    def inputs(self, contents: Sequence[Any]) -> Inputs:
        """N texts, or N encoded images -> what its item encoder reads."""
        return self.reader(contents)


def load_encoder(source: str, base: Path | None = None) -> tuple[nn.Module, str, bool]:
    """The pretrained encoder of `package:`, `directory:` or `hub:`; its path or name; whether it is local."""
    from transformers import AutoModel

    kind, _, name = source.partition(":")
    if kind == "package":
        path, local = str(importlib.import_module(name).get_model_path()), True
    elif kind == "directory":
        path, local = str((base or Path()) / name), True
    elif kind == "hub":
        path, local = name, False
    else:
        raise Invalid(f"Unknown encoder source '{source}'. Use package:, directory: or hub:.")
    try:
        model = AutoModel.from_pretrained(path, local_files_only=local)
    except (OSError, ValueError) as error:
        raise Invalid(f"There is no encoder at '{source}': {str(error).splitlines()[0]}") from error
    return as_item_encoder(model), path, local


def as_item_encoder(model: Any) -> nn.Module:
    """The encoder as TransRec uses it: no pooler (hidden states are read), no patch of MAE masked away."""
    family_of(model.config.model_type)
    if getattr(model, "pooler", None) is not None:
        model.pooler = None
    if model.config.model_type == "vit_mae":
        model.config.mask_ratio = 0.0
    encoder: nn.Module = model
    return encoder


def build_encoder(config: Any) -> nn.Module:
    """An untrained encoder of a transformers config."""
    from transformers import AutoModel

    return as_item_encoder(AutoModel.from_config(config))  # type: ignore[no-untyped-call]


def make_reader(encoder: Any, path: str, local: bool, config: TransRecConfig) -> Reader:
    """What prepares contents for the encoder: its own tokenizer, or its own mean and std of pixels."""
    from transformers import AutoTokenizer

    if config.image_size is None:
        return TextReader(AutoTokenizer.from_pretrained(path, local_files_only=local), config.max_tokens)
    from transformers.image_processing_base import ImageProcessingMixin

    found, _ = ImageProcessingMixin.get_image_processor_dict(path, local_files_only=local)
    patch = encoder.config.patch_size
    if any(side % patch for side in config.image_size):
        raise Invalid(
            f"image_size {config.image_size} is not a multiple of the encoder's patches of {patch}."
        )
    mean, std = tuple(found["image_mean"]), tuple(found["image_std"])
    return ImageReader(config.image_size, patch, mean, std, found.get("resample", Image.Resampling.BICUBIC))


def fresh(encoder: str, config: TransRecConfig, base: Path | None = None) -> tuple[TransRec, Reader]:
    """A TransRec with a pretrained encoder and an untrained DTL and user encoder; raises `Invalid`."""
    model, path, local = load_encoder(encoder, base)
    modality = family_of(str(model.config.model_type)).modality  # type: ignore[union-attr]
    if (modality == "image") != (config.image_size is not None):
        need = "an image_size" if modality == "image" else "no image_size"
        raise Invalid(f"'{encoder}' encodes {modality}s: give the backbone's config {need}.")
    return TransRec(model, config), make_reader(model, path, local, config)


def fingerprint(model: TransRec, reader: Reader) -> str:
    """sha256 over all that shapes a vector: config, reader, every tensor with its name and shape."""
    encoder: Any = model.item_encoder.encoder.config
    shaping = ("model_type", "hidden_act", "layer_norm_eps", "num_attention_heads")
    facts = [model.config.as_dict(), {k: getattr(encoder, k) for k in shaping}, reader.facts()]
    digest = hashlib.sha256(json.dumps(facts, sort_keys=True).encode())
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(f"{name}{tensor.dtype}{list(tensor.shape)}".encode())
        digest.update(tensor.detach().cpu().contiguous().view(torch.uint8).numpy().data)
    return digest.hexdigest()


def save_backbone(directory: Path, name: str, encoder: str, model: TransRec, base: Path | None = None) -> str:
    """Write what differs from the encoder's own weights; return the fingerprint of what loads back."""
    directory.mkdir(parents=True, exist_ok=True)
    original, _, _ = load_encoder(encoder, base)
    own = {f"encoder.{k}": v for k, v in original.state_dict().items()}
    for part in PARTS:
        state = {k: v.detach().cpu() for k, v in getattr(model, part).state_dict().items()}
        if part == "item_encoder":  # bf16 halves the file; the rounding is part of the backbone
            state = {k: v.bfloat16() for k, v in state.items() if not torch.equal(v, own[k])}
        path = directory / f"{part}.safetensors"
        path.unlink(missing_ok=True)
        if state:
            save_file({k: v.contiguous() for k, v in state.items()}, path)
    sidecar = {"format": 1, "name": name, "encoder": encoder, "config": model.config.as_dict()}
    sidecar["fingerprint"] = fingerprint(*_assemble(directory, sidecar))
    (directory / SIDECAR).write_text(json.dumps(sidecar, indent=2) + "\n")
    return str(sidecar["fingerprint"])


def find_backbone(name_or_path: str) -> Path:
    """The folder of a shipped backbone, or the one that was named; raises `Invalid` when there is none."""
    directory = SHIPPED / name_or_path
    if not (directory / SIDECAR).is_file():
        directory = Path(name_or_path)
    if not (directory / SIDECAR).is_file():
        known = ", ".join(sorted(p.parent.name for p in SHIPPED.glob(f"*/{SIDECAR}"))) or "none"
        raise Invalid(f"No backbone at '{name_or_path}'. Name a directory or a shipped one: {known}.")
    return directory


def load_backbone(name_or_path: str, device: torch.device | None = None) -> Backbone:
    """Load and freeze a shipped backbone or a directory.

    Raises `Invalid` when there is none, or when its weights are not those of its fingerprint.
    """
    directory = find_backbone(name_or_path)
    sidecar = json.loads((directory / SIDECAR).read_text())
    model, reader = _assemble(directory, sidecar)
    found = fingerprint(model, reader)
    if found != sidecar["fingerprint"]:
        raise Invalid(
            f"The backbone in '{directory}' does not match its fingerprint: a file was changed, or "
            f"'{sidecar['encoder']}' is another version. Restore the files or install that version."
        )
    return Backbone(sidecar["name"], sidecar["encoder"], freeze(model, device), reader, found)


class Backbones:
    """The service's backbones, at most one a modality; all channels of a modality share its backbone."""

    def __init__(self, *loaded: Backbone) -> None:
        self._by_modality: dict[str, Backbone] = {backbone.modality: backbone for backbone in loaded}

    def __contains__(self, modality: str) -> bool:
        """Whether channels of that modality can be served."""
        return modality in self._by_modality

    def fingerprints(self) -> dict[str, str]:
        """By modality."""
        return {modality: backbone.fingerprint for modality, backbone in self._by_modality.items()}

    def get(self, modality: str) -> Backbone:
        """The modality's backbone; raises `Invalid` with the remedy where there is none."""
        if modality not in self._by_modality:
            raise Invalid(
                f"This service has no {modality} backbone. Name one in TRANSREC_IMAGE_BACKBONE and start it "
                "again (`transrec backbone fetch-vit` makes one)."
            )
        return self._by_modality[modality]


def load_backbones(text: str, image: str, device: torch.device | None = None) -> Backbones:
    """Load the text backbone and, where one is named, the image backbone; raises `Invalid`."""
    loaded = [load_backbone(name, device) for name in (text, image) if name]
    backbones = Backbones(*loaded)
    for modality, name in (("text", text), ("image", image)):
        if name and modality not in backbones:
            raise Invalid(f"The backbone '{name}' does not encode {modality}s. Name another one.")
    return backbones


def freeze(model: TransRec, device: torch.device | None = None) -> TransRec:
    """No gradients, evaluation mode, on its device."""
    return model.requires_grad_(False).eval().to(device or torch.device("cpu"))


def _assemble(directory: Path, sidecar: dict[str, Any]) -> tuple[TransRec, Reader]:
    config = TransRecConfig(**sidecar["config"])
    if config.image_size is not None:  # JSON has no tuples
        config = replace(config, image_size=(config.image_size[0], config.image_size[1]))
    model, reader = fresh(sidecar["encoder"], config, directory)
    for part in PARTS:
        path = directory / f"{part}.safetensors"
        if path.is_file():
            state: dict[str, Tensor] = {k: v.float() for k, v in load_file(path).items()}
            getattr(model, part).load_state_dict(state, strict=part != "item_encoder")
    return model, reader
