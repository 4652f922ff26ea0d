"""Source backbones: pretrained once a (sources, share, objective, encoder, budget), kept on disk."""

import hashlib
import json
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from app.model.adapters import attach, freeze_all_but
from app.model.backbone import Backbone, freeze, fresh, load_backbone, save_backbone
from app.model.methods import published
from app.model.transrec import TransRec, TransRecConfig
from training.dataset import Corpus, merge
from training.experiments.data import LENGTH, cut, read
from training.experiments.encoders import pooling_of, source_of
from training.experiments.scales import Scale, budget
from training.experiments.spec import Modality, RunSpec
from training.finetune import Subject, subject
from training.fit import FitConfig, FitState, OnStep, Run
from training.towers import ContentTower, PooledTower, Tower, pooled_states

RECORD = "pretraining.json"
MIN_USERS = 20


@dataclass
class Backbones:
    """The folder of backbones; holds the last one, and the sources' frozen encoder outputs, in memory."""

    folder: Path
    data: Path | None
    scale: Scale
    device: torch.device
    say: Callable[[str], None]
    on_step: OnStep | None = None

    def __post_init__(self) -> None:
        self._last: tuple[str, Backbone] | None = None
        self._pooled: tuple[str, Tensor] | None = None

    def get(self, spec: RunSpec) -> Backbone:
        """Load the run's backbone; pretrain it first where it isn't there."""
        key = self.key(spec)
        if self._last is None or self._last[0] != key:
            if not (self.folder / key / RECORD).is_file():
                self._make(spec, key)
            self._last = key, load_backbone(str(self.folder / key), self.device)
        return self._last[1]

    def record(self, spec: RunSpec) -> dict[str, Any]:
        """How the run's backbone came to be: users, items, epochs, seconds, validation figures."""
        found: dict[str, Any] = json.loads((self.folder / self.key(spec) / RECORD).read_text())
        return found

    def key(self, spec: RunSpec) -> str:
        """16 hexadecimal digits over all that shapes a backbone."""
        shaping = spec.model_dump(include={"modality", "encoder", "sources", "source_share"}, mode="json")
        if spec.source_share:
            shaping["objective"] = spec.objective
        shaping["budget"] = {k: v for k, v in budget(self.scale).items() if _shapes(k, spec)}
        return hashlib.sha256(json.dumps(shaping, sort_keys=True).encode()).hexdigest()[:16]

    def _make(self, spec: RunSpec, key: str) -> None:
        """Write aside, then rename: a backbone is whole or not there."""
        aside, started = self.folder / f".{key}", time.monotonic()
        shutil.rmtree(aside, ignore_errors=True)
        torch.manual_seed(0)  # the first weights: one backbone for every seed of the runs on it
        encoder = source_of(spec.encoder, self.folder.parent)
        model, reader = fresh(encoder, config_for(spec.modality, spec.encoder, self.scale))
        backbone = Backbone(key, encoder, freeze(model, self.device), reader, "")
        facts: dict[str, Any] = {"share": spec.source_share, "end_to_end": self.scale.end_to_end}
        if spec.source_share:
            self.say(f"pretraining on {', '.join(spec.sources)} ({spec.source_share:.0%}, {spec.objective})")
            on = subject(backbone, self._corpus(spec))
            model, state = self._pretrain(on, spec)
            facts |= {"users": len(on.corpus.windows), "items": on.corpus.n_items, "epochs": state.epoch}
            facts |= {"seconds": round(state.seconds, 1), "validation_hr10": round(state.best[0], 5)}
        save_backbone(aside, key, encoder, model)
        facts["wall"] = round(time.monotonic() - started, 1)
        (aside / RECORD).write_text(json.dumps(facts, indent=1) + "\n")
        shutil.rmtree(self.folder / key, ignore_errors=True)
        aside.rename(self.folder / key)

    def _corpus(self, spec: RunSpec) -> Corpus:
        sources = [read(name, self.data) for name in spec.sources]
        limit = self.scale.source
        return merge("+".join(spec.sources), [cut(s, limit, spec.source_share, MIN_USERS) for s in sources])

    def _pretrain(self, on: Subject, spec: RunSpec) -> tuple[TransRec, FitState]:
        """Full fine-tuning of an untrained TransRec, or of all of it but its item encoder."""
        model, whole = attach(on.backbone.model, published("fta")), self.scale.end_to_end
        chosen = {k: p for k, p in model.adapter.items() if whole or not k.startswith("item/")}
        freeze_all_but(model, chosen)
        tower: Tower = ContentTower(model, on.inputs)
        if not whole:
            tower = PooledTower(model, self._pooled_states(on, spec))
        rates = {k: self.scale.pretrain_encoder_rate for k in chosen if k.startswith("item/")}
        run = Run(model, chosen, on.corpus, tower, pretrain_config(self.scale, spec), rates)
        return model, run.fit(self.on_step)

    def _pooled_states(self, on: Subject, spec: RunSpec) -> Tensor:
        """The same for every objective and share: the catalogue is."""
        name = f"{spec.modality} {spec.encoder} {spec.sources}"
        if self._pooled is None or self._pooled[0] != name:
            self.say(f"encoding {len(on.inputs):,} distinct contents of the sources")
            self._pooled = name, pooled_states(on.backbone.model, on.inputs)
        return self._pooled[1]


def config_for(modality: Modality, encoder: str, scale: Scale) -> TransRecConfig:
    """Positions and image size by modality, all else as published."""
    if modality == "image":
        return TransRecConfig(length=LENGTH[modality], image_size=scale.image_size)
    return TransRecConfig(length=LENGTH[modality], pooling=pooling_of(encoder))


def pretrain_config(scale: Scale, spec: RunSpec) -> FitConfig:
    """The scale's figures as a `FitConfig`."""
    return FitConfig(
        objective=spec.objective,
        learning_rate=scale.pretrain_rate,
        batch_users=scale.pretrain_users,
        max_epochs=scale.pretrain_epochs,
        max_seconds=scale.pretrain_seconds,
        patience=scale.patience,
        eval_users=scale.eval_users,
    )


def _shapes(field: str, spec: RunSpec) -> bool:
    """Whether a figure of the scale shapes the run's backbone."""
    if field == "image_size":
        return spec.modality == "image"
    pretraining = ("source", "end_to_end", "patience", "eval_users")
    return bool(spec.source_share) and (field in pretraining or field.startswith("pretrain"))
