from pathlib import Path

import pytest

from app.model.backbone import Backbone, load_backbone
from tests.fakes import build_backbone


@pytest.fixture(scope="session")
def backbone_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("backbone")
    build_backbone(folder)
    return folder


@pytest.fixture(scope="session")
def backbone(backbone_folder: Path) -> Backbone:
    return load_backbone(str(backbone_folder))
