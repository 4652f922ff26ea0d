"""A backbone held to its card, on two departments of the real retailer."""

import json
import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner

from app.core.errors import Invalid
from app.model.backbone import SIDECAR
from training.cli import commands
from training.verify import record, verify


@pytest.fixture
def folder(backbone_folder: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(backbone_folder, tmp_path / "copy"))


def test_what_is_recorded_is_found_again(folder: Path) -> None:
    with pytest.raises(Invalid, match="--record"):
        verify(str(folder))
    found = record(str(folder))
    assert found.keys() == {"pastry", "deli"}
    assert all(check.passed for check in verify(str(folder)))


def test_another_accuracy_or_another_weight_is_told(folder: Path) -> None:
    record(str(folder))
    sidecar = json.loads((folder / SIDECAR).read_text())
    sidecar["zero_shot"]["deli"]["hr10"] += 0.05
    (folder / SIDECAR).write_text(json.dumps(sidecar))
    done = CliRunner().invoke(commands, ["backbone", "verify", str(folder)])
    assert done.exit_code == 1
    assert done.stdout.count("DIFFERS") == 1
    (folder / SIDECAR).write_text(json.dumps(sidecar | {"fingerprint": "other"}))
    with pytest.raises(Invalid, match="fingerprint"):
        verify(str(folder))


def test_the_shipped_backbone_is_what_its_card_says() -> None:
    checks = verify("minilm-transrec")
    assert all(check.passed for check in checks), checks
