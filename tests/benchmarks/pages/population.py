"""Many channels of several tenants, one of them big, after a day of traffic; nothing is to be encoded."""

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from sqlalchemy import insert
from sqlalchemy.orm import Session

from app.core.attribution import new_recommendation_id
from app.core.clock import now
from app.core.ids import new_id
from app.model.backbone import Backbone, load_backbone
from app.model.snapshot import content_digest, snapshot_to_bytes
from app.store import registry, releases, revisions, vectors
from app.store.channels import create_channel
from app.store.db import Database
from app.store.tables import Click, Import, Impressions, Interaction, Item, TrainingJob
from app.store.tenants import create_tenant
from tests.benchmarks.load.progress import Steps, say
from tests.fakes import SMALL, adapter_bytes

BIG_TENANT, BIG = "tenant-0", "big"
CHUNK = 50_000
MINUTES = 24 * 60
CLICKED = 20  # one recommendation in so many
CURVE = [{"epoch": n, "loss": 5.0 - n / 10, "hr10": 0.1 + n / 200} for n in range(10)]
GATE = {"passed": True, "reason": "not below popularity's"}
JOB = {"adapter": SMALL.model_dump(exclude_none=True), "promote": True}
SCORES = {"users": 1000, "hr10_se": 0.01, "ndcg10_se": 0.006}


@dataclass(frozen=True)
class Size:
    """How much there is."""

    channels: int
    tenants: int
    items: int  # of the big channel
    interactions: int  # of the big channel
    small_items: int = 20


def populate(url: str, backbone_folder: Path, size: Size) -> None:
    """Fill a new database."""
    db = Database(url)
    db.migrate()
    filler = _Filler(db, load_backbone(str(backbone_folder)), size)
    filler.fill()
    db.dispose()


class _Filler:
    def __init__(self, db: Database, backbone: Backbone, size: Size) -> None:
        self.db, self.backbone, self.size = db, backbone, size
        self.rng = np.random.default_rng(0)
        self.weights = adapter_bytes(backbone, 0)
        self.minute = int(time.time() // 60) * 60_000

    def fill(self) -> None:
        """Make tenants and channels, the big one last."""
        with self.db.session() as s:
            tenants = [create_tenant(s, f"tenant-{n}").id for n in range(self.size.tenants)]
        for number in Steps("populating", self.size.channels - 1):
            tenant = tenants[number % len(tenants)]
            self._channel(tenant, f"channel-{number:03}", self.size.small_items, 100)
        say(f"populating the big channel: {self.size.items:,} items, {self.size.interactions:,} interactions")
        self._channel(tenants[0], BIG, self.size.items, self.size.interactions)

    def _channel(self, tenant_id: str, name: str, items: int, interactions: int) -> None:
        texts = [f"{name} thing no {n}" for n in range(items)]
        with self.db.session() as s:
            channel = create_channel(s, tenant_id, name, "", self.backbone.fingerprint).id
            self._rows(s, Item, ({"channel_id": channel} | item for item in _items(texts)))
            self._rows(s, Interaction, self._met(channel, items, interactions))
            revisions.raise_items(s, channel)
            revisions.raise_events(s, channel)
            adapter = self._adapter(s, channel)
            dim = self.backbone.model.config.dim
            found = self.rng.standard_normal((items, dim), dtype=np.float32) / dim**0.5
            data = snapshot_to_bytes([content_digest(text) for text in texts], found)
            vectors.save_vectors(s, channel, adapter, self.backbone.fingerprint, data)
            self._traffic(s, channel)
            self._past(s, channel)

    def _rows(self, s: Session, table: Any, rows: Any) -> None:
        chunk: list[dict[str, Any]] = []
        for row in rows:
            chunk.append(row)
            if len(chunk) == CHUNK:
                s.execute(insert(table.__table__), chunk)
                chunk = []
        if chunk:
            s.execute(insert(table.__table__), chunk)

    def _met(self, channel_id: str, items: int, interactions: int) -> Any:
        which = self.rng.zipf(1.3, interactions) % items
        for n, item in enumerate(which.tolist()):
            at = 1_700_000_000_000 + n
            yield {
                "channel_id": channel_id,
                "user_id": f"u{n % max(interactions // 10, 10)}",
                "item_id": f"i{item}",
                "timestamp": at,
            }

    def _adapter(self, s: Session, channel_id: str) -> str:
        own, popular = 0.1 + self.rng.random() / 5, 0.1 + self.rng.random() / 10
        test = {
            "adapter": {"hr10": own, "ndcg10": own / 2} | SCORES,
            "popularity": {"hr10": popular, "ndcg10": popular / 2} | SCORES,
        }
        for _ in range(3):
            adapter = registry.register(
                s,
                channel_id,
                method="houlsby",
                config=SMALL.model_dump(exclude_none=True),
                weights=self.weights,
                backbone_fingerprint=self.backbone.fingerprint,
                metrics={"test": test, "validation": test, "gate": GATE},
                source="training",
                actor="bench",
            )
            releases.promote(s, channel_id, adapter.version, actor="bench", reason="")
        return adapter.sha256

    def _traffic(self, s: Session, channel_id: str) -> None:
        """A recommendation or more every minute of the last day, one in twenty followed."""
        minutes = [self.minute - 60_000 * n for n in range(MINUTES)]
        counts = self.rng.poisson(5, MINUTES) + 1
        given = {"channel_id": channel_id, "version": 3, "variant": "champion"}
        rows = [
            given | {"minute": minute, "recommendations": count}
            for minute, count in zip(minutes, counts.tolist(), strict=True)
        ]
        s.execute(insert(Impressions.__table__), rows)  # type: ignore[arg-type]
        clicked = self.rng.choice(minutes, int(counts.sum()) // CLICKED).tolist()
        s.execute(insert(Click.__table__), [_click(channel_id, at) for at in clicked])  # type: ignore[arg-type]

    def _past(self, s: Session, channel_id: str) -> None:
        """Files that were imported and jobs that ended."""
        ended = {"channel_id": channel_id, "created_at": now(), "created_by": "bench"}
        counts = {"rows": 100, "inserted": 100, "updated": 0, "unchanged": 0, "error_count": 0, "errors": []}
        for kind in ("items", "interactions"):
            file = {"kind": kind, "format": "csv", "sha256": "", "status": "succeeded"}
            s.add(Import(id=new_id("imp"), **file, **counts, **ended))
        times = {"started_at": now(), "finished_at": now()}
        own, popular = {"hr10": 0.2, "ndcg10": 0.1} | SCORES, {"hr10": 0.1, "ndcg10": 0.05} | SCORES
        measured = {"adapter": own, "popularity": popular}
        result = {"curve": CURVE, "gate": GATE, "validation": measured, "test": measured}
        for version in (1, 2, 3):
            made: dict[str, Any] = {"state": "SUCCEEDED", "config": JOB, "adapter_version": version}
            s.add(
                TrainingJob(
                    id=new_id("job"), **made, progress={"curve": CURVE}, result=result, **times, **ended
                )
            )


def _items(texts: list[str]) -> Any:
    for n, text in enumerate(texts):
        yield {"item_id": f"i{n}", "text": text, "attributes": {"year": 1990 + n % 36}, "revision": 1}


def _click(channel_id: str, at: int) -> dict[str, Any]:
    made = new_recommendation_id("champion", 3)
    return {
        "channel_id": channel_id, "recommendation_id": f"rec_{at:012x}{made[16:]}", "item_id": "i1",
        "version": 3, "variant": "champion", "at": at + 5000,
    }  # fmt: skip
