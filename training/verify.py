"""Whether a backbone is what its card says: its fingerprint, and its accuracy on channels never seen."""

import json
from dataclasses import dataclass

from app.core.errors import Invalid
from app.model.backbone import SIDECAR, Backbone, find_backbone, load_backbone
from app.model.encode import encode_items
from training.dataset import build_corpus
from training.evaluate import evaluate_model
from training.sources import read_retail

DEPARTMENTS = ("pastry", "deli")
FIGURES = ("hr10", "ndcg10")
TOLERANCE = 0.004  # other processors round bfloat16 otherwise; half a standard error


@dataclass(frozen=True)
class Check:
    """A figure of a department: as recorded, and as found here."""

    department: str
    figure: str
    recorded: float
    found: float

    @property
    def passed(self) -> bool:
        """Whether they are the same but for rounding."""
        return abs(self.found - self.recorded) <= TOLERANCE


def measure(backbone: Backbone) -> dict[str, dict[str, float]]:
    """HR@10 and NDCG@10 on the test split by department, without an adapter."""
    return {name: _zero_shot(backbone, name) for name in DEPARTMENTS}


def record(name_or_path: str) -> dict[str, dict[str, float]]:
    """Measure, and write the figures into the backbone's folder."""
    found = measure(load_backbone(name_or_path))
    path = find_backbone(name_or_path) / SIDECAR
    sidecar = json.loads(path.read_text()) | {"zero_shot": found}
    path.write_text(json.dumps(sidecar, indent=2) + "\n")
    return found


def verify(name_or_path: str) -> list[Check]:
    """Load it, which checks its fingerprint, and measure; raises `Invalid` where nothing was recorded."""
    backbone = load_backbone(name_or_path)
    recorded = json.loads((find_backbone(name_or_path) / SIDECAR).read_text()).get("zero_shot")
    if not recorded:
        raise Invalid(f"'{name_or_path}' fits its fingerprint, but no accuracy was recorded. Give --record.")
    found = measure(backbone)
    return [Check(d, f, recorded[d][f], found[d][f]) for d in DEPARTMENTS for f in FIGURES]


def _zero_shot(backbone: Backbone, department: str) -> dict[str, float]:
    if backbone.modality != "text":
        raise Invalid("Accuracy is measured on texts. Name a text backbone.")
    source = read_retail(department.upper())
    corpus = build_corpus(department, source.items, source.sequences, backbone.model.config.length)
    vectors = encode_items(backbone.model, backbone.inputs(corpus.contents.distinct))
    found = evaluate_model(backbone.model, corpus, "test", vectors).overall.as_dict()
    return {figure: found[figure] for figure in FIGURES}
