"""One training job from its row to its end: data -> adapter -> evaluation -> gate -> publishing."""

import logging
import time
from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from typing import Any

from sqlalchemy.orm import Session

from app.core.errors import Invalid
from app.model import adapters
from app.model.backbone import Backbone, Backbones
from app.model.checkpoint import adapter_from_bytes, adapter_to_bytes
from app.model.device import peak_memory
from app.model.methods import AdapterConfig
from app.model.snapshot import content_digest, snapshot_to_bytes
from app.model.transrec import TransRec
from app.store import aliases, catalog, events, images, jobs, registry, releases, rollouts, vectors
from app.store.channels import channel_by_id
from app.store.chunks import chunked
from app.store.db import Database
from app.store.jobs import JobState
from app.store.tables import Adapter
from training.dataset import Corpus, build_corpus
from training.evaluate import Evaluation
from training.finetune import Subject, Trained, TrainingConfig, finetune, subject
from training.fit import StepReport
from training.gate import Verdict, gate
from training.lease import OWNER, JobCheckpoints, Lease
from training.towers import PooledTower

log = logging.getLogger(__name__)
MAX_IMAGES_BYTES = 4 * 1024**3


@dataclass(frozen=True)
class Report:
    """What the job measured: selection on validation, one look at the test split."""

    validation: dict[str, Evaluation]
    test: dict[str, Evaluation]
    verdict: Verdict

    def as_dict(self) -> dict[str, Any]:
        """For the rows of the job and of the adapter."""
        return {
            "validation": {k: v.as_dict() for k, v in self.validation.items()},
            "test": {k: v.as_dict() for k, v in self.test.items()},
            "gate": {"passed": self.verdict.passed, "reason": self.verdict.reason},
        }


def work_on(
    db: Database, backbones: Backbones, lease: Lease, channel_id: str, config: TrainingConfig
) -> bool:
    """Train, measure, publish; returns whether an alias moved. Raises what `lease.check` raises."""
    _phase(lease, "reading data")
    with db.read() as s:
        backbone = backbones.get(channel_by_id(s, channel_id).modality)
    on = subject(backbone, read_corpus(db, channel_id, backbone))
    _phase(lease, "training", users=len(on.corpus.windows), items=on.corpus.n_items)
    trained = finetune(
        on,
        config,
        lambda step: _on_step(lease, config, step),
        JobCheckpoints(db, lease.job_id),
        partial(_on_encode, lease),
    )
    _phase(lease, "evaluating")
    report = _measure(db, on, channel_id, trained, lease)
    lease.check()
    return _publish(db, on, channel_id, config, trained, report, lease)


def read_corpus(db: Database, channel_id: str, backbone: Backbone) -> Corpus:
    """The channel's items and interactions as they stand now; items without their image are left out."""
    items: dict[str, Any]
    with db.read() as s:
        items = {row.item_id: row.text for row in catalog.load_items(s, channel_id)}
        if backbone.modality == "image":
            items = _load_images(s, channel_id, items)
        sequences = events.sequences(s, channel_id)
    known = {user: [i for i in sequence if i in items] for user, sequence in sequences.items()}
    return build_corpus(channel_id, items, known, backbone.model.config.length)


def _load_images(s: Session, channel_id: str, item_ids: Iterable[str]) -> dict[str, bytes]:
    found: dict[str, bytes] = {}
    size = 0
    for chunk in chunked(item_ids, 500):
        loaded = images.load_images(s, channel_id, chunk)
        size += sum(len(data) for data in loaded.values())
        if size > MAX_IMAGES_BYTES:
            raise Invalid(
                f"The channel's images have more than {MAX_IMAGES_BYTES} bytes, and a worker holds them in "
                "memory. Send smaller images; encoders read some hundred pixels a side."
            )
        found |= loaded
    return found


def champion_model(db: Database, backbone: Backbone, channel_id: str) -> TransRec:
    """The model that answers now; the bare backbone when the champion was trained on another one."""
    with db.read() as s:
        release = releases.champion(s, channel_id)
        if release.adapter_id is None or release.backbone_fingerprint != backbone.fingerprint:
            return backbone.model
        weights = registry.get_adapter(s, channel_id, release.version, with_weights=True).weights
    tensors, config, _ = adapter_from_bytes(weights)
    return adapters.load(backbone.model, config, tensors)


def _measure(db: Database, on: Subject, channel_id: str, trained: Trained, lease: Lease) -> Report:
    note, bare = partial(_on_encode, lease), on.backbone.model
    champion = champion_model(db, on.backbone, channel_id)
    bare_vectors = PooledTower(bare, on.pooled(note)).catalogue()  # the warm-up has run its encoder already
    champion_vectors = bare_vectors if champion is bare else on.encode(champion, note)
    validation = {
        "adapter": on.evaluate(trained.model, trained.vectors, "validation"),
        "popularity": on.popularity("validation"),
        "champion": on.evaluate(champion, champion_vectors, "validation"),
    }
    test = {
        "adapter": on.evaluate(trained.model, trained.vectors, "test"),
        **on.baselines("test"),
        "zero_shot": on.evaluate(bare, bare_vectors, "test"),
    }
    verdict = gate(validation["adapter"], validation["popularity"], validation["champion"])
    return Report(validation, test, verdict)


def _publish(
    db: Database,
    on: Subject,
    channel_id: str,
    config: TrainingConfig,
    trained: Trained,
    report: Report,
    lease: Lease,
) -> bool:
    """Adapter, vectors, alias and the job's end: one transaction, all of it or nothing."""
    measured = report.as_dict()
    promote = report.verdict.passed and config.promote
    with db.session() as s:
        aliases.lock(s, channel_id)  # first, as every move: an operator's promote at once must not deadlock
        adapter = _register(s, on.backbone, channel_id, config.adapter, trained, measured, lease.job_id)
        names = [content_digest(content) for content in on.corpus.contents.distinct]
        data = snapshot_to_bytes(names, trained.vectors)
        vectors.save_vectors(s, channel_id, adapter.sha256, on.backbone.fingerprint, data)
        if promote:
            _put_in_place(s, channel_id, config, adapter.version, lease.job_id)
        result = measured | {"curve": trained.state.curve, "seconds": round(trained.state.seconds, 1)}
        state = JobState.SUCCEEDED if report.verdict.passed else JobState.REJECTED
        jobs.finish(s, lease.job_id, OWNER, state, result, adapter_version=adapter.version)
    log.info("job %s: version %d, %s", lease.job_id, adapter.version, report.verdict.reason)
    return promote


def _put_in_place(s: Session, channel_id: str, config: TrainingConfig, version: int, job_id: str) -> None:
    plan, reason = config.as_challenger, f"training job {job_id} passed the gate"
    if plan:
        rollouts.set_challenger(s, channel_id, version, plan, actor="training", reason=reason)
    else:
        releases.promote(s, channel_id, version, actor="training", reason=reason)


def _register(
    s: Any,
    backbone: Backbone,
    channel_id: str,
    config: AdapterConfig,
    trained: Trained,
    measured: dict[str, Any],
    job_id: str,
) -> Adapter:
    return registry.register(
        s,
        channel_id,
        method=config.method,
        config=config.model_dump(exclude_none=True),
        weights=adapter_to_bytes(trained.weights, config, backbone.fingerprint),
        backbone_fingerprint=backbone.fingerprint,
        metrics=measured,
        source="training",
        actor="training",
        job_id=job_id,
    )


def _phase(lease: Lease, phase: str, **facts: Any) -> None:
    lease.progress = {**lease.progress, "phase": phase, **facts}
    lease.check()


def _on_encode(lease: Lease, done: int, total: int) -> None:
    """Encoding a whole catalogue takes minutes: it shows, and it can be cancelled."""
    before, at = lease.progress, time.time()
    if done > before.get("encoded", done):
        since, first = before["encoding_since"]
    else:
        since, first = at, done  # another pass
    rate = (done - first) / (at - since) if at > since else None
    lease.progress = {
        **before,
        "encoded": done,
        "to_encode": total,
        "encoding_since": (since, first),
        "items_per_second": rate and round(rate, 1),
    }
    lease.check()


def _on_step(lease: Lease, config: TrainingConfig, step: StepReport) -> None:
    """Progress a step: where the run stands, how long it may still take at most, the curve so far."""
    done = step.epoch * step.steps + step.step
    per_step = step.seconds / max(done, 1)
    left = per_step * (step.max_epochs * step.steps - done)
    lease.progress = {
        **lease.progress,
        "phase": "warming up" if step.warming_up else "training",
        "epoch": step.epoch + 1,
        "max_epochs": step.max_epochs,
        "step": step.step,
        "steps": step.steps,
        "loss": round(step.loss, 4),
        "seconds": round(step.seconds, 1),
        "items_per_second": round(step.items_per_second, 1),
        "peak_bytes": peak_memory(),
        "at_most_seconds_left": round(min(left, config.fit.max_seconds - step.seconds), 1),
        "curve": list(step.curve),
    }
    lease.check()
