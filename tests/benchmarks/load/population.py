"""Channels with items, users, adapters and stored vectors, made in a database: nothing is to be encoded.

A database is kept and found again by what is in it; keys are made anew at every run.
"""

import json
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sqlalchemy import insert
from sqlalchemy.orm import Session

from app.model.adapters import attach, extract
from app.model.backbone import Backbone, load_backbone
from app.model.checkpoint import adapter_to_bytes
from app.model.methods import AdapterConfig, Encoders
from app.model.snapshot import content_digest, snapshot_to_bytes
from app.store import channels, registry, releases, tenants, vectors
from app.store.db import Database
from app.store.tables import Interaction, Item
from app.store.tenants import Role
from tests.benchmarks.load.progress import Steps
from tests.benchmarks.load.traffic import item_id, user_id

TENANT, BACKBONE = "load", "minilm-transrec"
WORDS, LONGEST = 2_000, 20
DONE = "population.json"


@dataclass(frozen=True)
class Spec:
    """What a database holds: every channel has an adapter of its own, the first one two."""

    channels: int
    items: int
    users: int = 50
    adapter: Encoders = "user"  # "both": as training gives it, 2.6 MB in place of 0.14 MB a channel

    @property
    def name(self) -> str:
        """Of its folder."""
        return f"{self.channels}x{self.items}-{self.users}-{self.adapter}"


@dataclass(frozen=True)
class Population:
    """A populated home, with keys for this run."""

    home: Path
    spec: Spec
    adapter_bytes: int
    reader: str
    operator: str  # of the tenant

    @property
    def channels(self) -> list[str]:
        """Their names."""
        return [channel_name(number) for number in range(self.spec.channels)]


def channel_name(number: int) -> str:
    """Of a populated channel."""
    return f"c{number:04d}"


def populate(root: Path, spec: Spec) -> Population:
    """Make the database below `root`, unless it is there from another run."""
    home = root / spec.name
    if not (home / DONE).exists():
        shutil.rmtree(home, ignore_errors=True)  # half of one, from a run that was stopped
    home.mkdir(parents=True, exist_ok=True)
    db = Database(f"sqlite:///{home / 'transrec.db'}")
    try:
        db.migrate()
        if not (home / DONE).exists():
            adapter_bytes = _Filler(db, spec).fill()
            (home / DONE).write_text(json.dumps(asdict(spec) | {"adapter_bytes": adapter_bytes}))
        with db.session() as s:
            tenant = tenants.get_tenant(s, TENANT).id
            reader, operator = (
                tenants.create_key(s, tenant, role, "load")[1] for role in (Role.READER, Role.OPERATOR)
            )
    finally:
        db.dispose()
    stored = json.loads((home / DONE).read_text())
    return Population(home, spec, stored["adapter_bytes"], reader, operator)


class _Filler:
    """Fills one database; what is the same for all channels is made once."""

    def __init__(self, db: Database, spec: Spec) -> None:
        self.db, self.spec = db, spec
        self.rng = np.random.default_rng(0)
        self.backbone: Backbone = load_backbone(BACKBONE)
        self.config = AdapterConfig(encoders=spec.adapter)
        self.untrained = extract(attach(self.backbone.model, self.config))
        self.titles = _titles(spec.items, self.rng)

    def fill(self) -> int:
        """Make tenant and channels; returns the bytes of one adapter."""
        with self.db.session() as s:
            tenant = tenants.create_tenant(s, TENANT).id
        size = 0
        label = f"populating {self.spec.channels:,} channels x {self.spec.items:,} items"
        for number in Steps(label, self.spec.channels):
            with self.db.session() as s:
                channel = channels.create_channel(
                    s, tenant, channel_name(number), "", self.backbone.fingerprint
                )
                texts = [f"{title}, brand {number}" for title in self.titles]  # no two channels share a text
                s.execute(insert(Item.__table__), _items(channel.id, texts))  # type: ignore[arg-type]
                s.execute(insert(Interaction.__table__), self._interactions(channel.id))  # type: ignore[arg-type]
                digests = [content_digest(text) for text in texts]
                for _ in range(1 if number else 2):
                    size = self._adapter(s, channel.id, digests)
                releases.promote(s, channel.id, 1, actor="load", reason="")
        return size

    def _interactions(self, channel_id: str) -> list[dict[str, Any]]:
        most = min(LONGEST, self.spec.items)
        lengths = self.rng.integers(min(5, most), most, self.spec.users, endpoint=True)
        return [
            {
                "channel_id": channel_id,
                "user_id": user_id(user),
                "item_id": item_id(row),
                "timestamp": 1_700_000_000_000 + moment,
            }
            for user, length in enumerate(lengths)
            for moment, row in enumerate(self.rng.choice(self.spec.items, length, replace=False).tolist())
        ]

    def _adapter(self, s: Session, channel_id: str, digests: list[bytes]) -> int:
        """The channel's next version, with vectors of its own; returns its bytes."""
        noise = 0.05 * torch.from_numpy(self.rng.standard_normal(self._size(), dtype=np.float32))
        weights, start = {}, 0
        for name, tensor in self.untrained.items():
            weights[name] = tensor + noise[start : start + tensor.numel()].view_as(tensor)
            start += tensor.numel()
        data = adapter_to_bytes(weights, self.config, self.backbone.fingerprint)
        adapter = registry.register(
            s,
            channel_id,
            method=self.config.method,
            config=self.config.model_dump(exclude_none=True),
            weights=data,
            backbone_fingerprint=self.backbone.fingerprint,
            metrics={},
            source="upload",
            actor="load",
        )
        dim = self.backbone.model.config.dim
        found = self.rng.standard_normal((len(digests), dim), dtype=np.float32) / dim**0.5
        snapshot = snapshot_to_bytes(digests, found)
        vectors.save_vectors(s, channel_id, adapter.sha256, self.backbone.fingerprint, snapshot)
        return len(data)

    def _size(self) -> int:
        return sum(tensor.numel() for tensor in self.untrained.values())


def _titles(number: int, rng: np.random.Generator) -> list[str]:
    """Different titles of 3 to 8 words, common ones more often, as in a shop."""
    letters = np.array(list("abcdefghiklmnoprstuvwy"))
    words = ["".join(rng.choice(letters, length)) for length in rng.integers(3, 10, WORDS).tolist()]
    weights = 1 / np.arange(1, WORDS + 1)
    lengths = rng.integers(3, 9, number).tolist()
    drawn = iter(rng.choice(WORDS, sum(lengths), p=weights / weights.sum()).tolist())
    return [f"{' '.join(words[next(drawn)] for _ in range(n))} no {row}" for row, n in enumerate(lengths)]


def _items(channel_id: str, texts: list[str]) -> list[dict[str, Any]]:
    return [
        {
            "channel_id": channel_id,
            "item_id": item_id(row),
            "text": text,
            "attributes": {"year": 1990 + row % 36, "shelf": f"s{row % 97}"},
        }
        for row, text in enumerate(texts)
    ]
