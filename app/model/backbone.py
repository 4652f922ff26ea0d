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
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from app.core.errors import Invalid
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
    tokenizer: Any
    fingerprint: str


def load_encoder(source: str, base: Path | None = None) -> tuple[torch.nn.Module, Any]:
    """The pretrained encoder and its tokenizer from `package:`, `directory:` or `hub:`."""
    from transformers import AutoModel, AutoTokenizer

    kind, _, name = source.partition(":")
    if kind == "package":
        path, local = str(importlib.import_module(name).get_model_path()), True
    elif kind == "directory":
        path, local = str((base or Path()) / name), True
    elif kind == "hub":
        path, local = name, False
    else:
        raise Invalid(f"Unknown encoder source '{source}'. Use package:, directory: or hub:.")
    model = AutoModel.from_pretrained(path, local_files_only=local)
    if getattr(model, "pooler", None) is not None:
        model.pooler = None  # TransRec reads the last hidden state only
    return model, AutoTokenizer.from_pretrained(path, local_files_only=local)


def fresh(encoder: str, config: TransRecConfig, base: Path | None = None) -> tuple[TransRec, Any]:
    """A TransRec with a pretrained encoder and an untrained DTL and user encoder."""
    model, tokenizer = load_encoder(encoder, base)
    return TransRec(model, config), tokenizer


def fingerprint(model: TransRec) -> str:
    """sha256 over the config and every tensor: names, shapes, bytes."""
    digest = hashlib.sha256(json.dumps(asdict(model.config), sort_keys=True).encode())
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(f"{name}{tensor.dtype}{list(tensor.shape)}".encode())
        digest.update(tensor.detach().cpu().contiguous().view(torch.uint8).numpy().data)
    return digest.hexdigest()


def save_backbone(directory: Path, name: str, encoder: str, model: TransRec, base: Path | None = None) -> str:
    """Write what differs from the encoder's own weights; return the fingerprint of what loads back."""
    directory.mkdir(parents=True, exist_ok=True)
    original, _ = load_encoder(encoder, base)
    own = {f"encoder.{k}": v for k, v in original.state_dict().items()}
    for part in PARTS:
        state = {k: v.detach().cpu() for k, v in getattr(model, part).state_dict().items()}
        if part == "item_encoder":  # bf16 halves the file; the rounding is part of the backbone
            state = {k: v.bfloat16() for k, v in state.items() if not torch.equal(v, own[k])}
        path = directory / f"{part}.safetensors"
        path.unlink(missing_ok=True)
        if state:
            save_file({k: v.contiguous() for k, v in state.items()}, path)
    sidecar = {"format": 1, "name": name, "encoder": encoder, "config": asdict(model.config)}
    rebuilt, _ = _assemble(directory, sidecar)
    sidecar["fingerprint"] = fingerprint(rebuilt)
    (directory / SIDECAR).write_text(json.dumps(sidecar, indent=2) + "\n")
    return str(sidecar["fingerprint"])


def load_backbone(name_or_path: str, device: torch.device | None = None) -> Backbone:
    """Load and freeze a shipped backbone or a directory.

    Raises `Invalid` when there is none, or when its weights are not those of its fingerprint.
    """
    directory = SHIPPED / name_or_path
    if not (directory / SIDECAR).is_file():
        directory = Path(name_or_path)
    if not (directory / SIDECAR).is_file():
        known = ", ".join(sorted(p.parent.name for p in SHIPPED.glob(f"*/{SIDECAR}"))) or "none"
        raise Invalid(f"No backbone at '{name_or_path}'. Name a directory or a shipped one: {known}.")
    sidecar = json.loads((directory / SIDECAR).read_text())
    model, tokenizer = _assemble(directory, sidecar)
    found = fingerprint(model)
    if found != sidecar["fingerprint"]:
        raise Invalid(
            f"The backbone in '{directory}' does not match its fingerprint: a file was changed, or "
            f"'{sidecar['encoder']}' is another version. Restore the files or install that version."
        )
    return Backbone(sidecar["name"], sidecar["encoder"], freeze(model, device), tokenizer, found)


def freeze(model: TransRec, device: torch.device | None = None) -> TransRec:
    """No gradients, evaluation mode, on its device."""
    return model.requires_grad_(False).eval().to(device or torch.device("cpu"))


def _assemble(directory: Path, sidecar: dict[str, Any]) -> tuple[TransRec, Any]:
    config = TransRecConfig(**sidecar["config"])
    model, tokenizer = fresh(sidecar["encoder"], config, directory)
    for part in PARTS:
        path = directory / f"{part}.safetensors"
        if path.is_file():
            state: dict[str, Tensor] = {k: v.float() for k, v in load_file(path).items()}
            getattr(model, part).load_state_dict(state, strict=part != "item_encoder")
    return model, tokenizer
