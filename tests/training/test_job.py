import csv
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from app.core.config import get_settings
from app.core.errors import Invalid, LeaseLost
from app.core.images import image_info
from app.core.rollout import Rule
from app.model.backbone import Backbone, load_backbone
from app.model.checkpoint import adapter_from_bytes
from app.model.snapshot import content_digest, snapshot_from_bytes
from app.store import (
    aliases,
    catalog,
    channels,
    images,
    jobs,
    registry,
    releases,
    rollouts,
    tenants,
    vectors,
    workers,
)
from app.store.db import Database
from app.store.formats import Format
from app.store.images import ImageRow
from app.store.imports import Kind, run_import
from app.store.jobs import JobState
from app.store.tables import TrainingJob
from app.store.wake import Wake
from tests.fakes import build_backbone, picture
from tests.training.conftest import chains
from training import lease, worker
from training.baselines import BASELINES
from training.fit import FitState
from training.job import _on_encode, read_corpus, work_on
from training.lease import Lease

FIT = {"learning_rate": 5e-3, "batch_users": 16, "max_epochs": 8, "patience": 8, "checkpoint_seconds": 0}
ADAPTER = {"bottleneck": 8, "user_bottleneck": 8}
CACHED = (get_settings, worker.backbones, worker.database, worker.wake, worker.presence)
CONFIG = {"adapter": ADAPTER, "fit": FIT}


@pytest.fixture
def environment(
    database: Database,
    database_url: str,
    valkey_url: str,
    backbone_folder: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Database]:
    """The worker's own configuration, as a process would read it."""
    monkeypatch.setenv("TRANSREC_DATABASE_URL", database_url)
    monkeypatch.setenv("TRANSREC_REDIS_URL", valkey_url)
    monkeypatch.setenv("TRANSREC_BACKBONE", str(backbone_folder))
    monkeypatch.setenv("TRANSREC_LEASE_SECONDS", "2")
    monkeypatch.setenv("TRANSREC_POLL_SECONDS", "0.1")
    for cached in CACHED:
        cached.cache_clear()
    yield database
    worker.database().dispose()
    for cached in CACHED:
        cached.cache_clear()


def fill(db: Database, backbone: Backbone, folder: Path, users: int = 60) -> str:
    """A channel with the chains of conftest; returns its id."""
    with db.session() as s:
        tenant = tenants.create_tenant(s, "t")
        channel = channels.create_channel(s, tenant.id, "c", "", backbone.fingerprint, backbone.modality)
        channel_id = channel.id
    items, sequences = chains(users)
    logs = [(u, i, 1000 + n) for u, history in sequences.items() for n, i in enumerate(history)]
    tables: list[tuple[Kind, list[str], Any]] = [
        (Kind.ITEMS, ["item_id", "text"], items.items()),
        (Kind.INTERACTIONS, ["user_id", "item_id", "timestamp"], logs),
    ]
    for kind, header, rows in tables:
        path = folder / f"{kind}.csv"
        with path.open("w", newline="") as out:
            csv.writer(out).writerows([header, *rows])
        run_import(db, channel_id, kind, path, Format.CSV, sha256="", actor="test")
    return channel_id


def start(db: Database, channel_id: str, config: dict[str, Any]) -> str:
    with db.session() as s:
        return jobs.create_job(s, channel_id, config, "test").id


def row(db: Database, channel_id: str, job_id: str) -> TrainingJob:
    with db.read() as s:
        return jobs.get_job(s, channel_id, job_id)


def wait(until: Callable[[], bool], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not until():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.05)


def test_a_job_from_the_queue_to_the_champion(
    environment: Database, backbone: Backbone, tmp_path: Path, valkey_url: str
) -> None:
    db, channel_id = environment, fill(environment, backbone, tmp_path)
    job_id = start(db, channel_id, CONFIG)
    assert Wake(valkey_url).job(job_id)
    worker.drain_queue()
    job = row(db, channel_id, job_id)
    assert job.state == JobState.SUCCEEDED, job.error
    assert job.result["gate"]["passed"]
    assert {"adapter", "zero_shot", *BASELINES} == job.result["test"].keys()
    with db.read() as s:
        adapter = registry.get_adapter(s, channel_id, 1, with_weights=True)
        assert releases.champion(s, channel_id).version == job.adapter_version == 1
        weights, config, fingerprint = adapter_from_bytes(adapter.weights)
        assert vectors.load_vectors(s, channel_id, adapter.sha256, fingerprint)
        assert jobs.load_checkpoint(s, job_id) is None
    assert fingerprint == backbone.fingerprint
    assert config.bottleneck == 8
    assert weights


def test_a_job_on_images(
    environment: Database, backbone: Backbone, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    db, folder = environment, tmp_path / "vit"
    build_backbone(folder, "vit")
    monkeypatch.setenv("TRANSREC_IMAGE_BACKBONE", str(folder))
    for cached in CACHED:
        cached.cache_clear()
    channel_id = fill(db, worker.backbones().get("image"), tmp_path)
    with db.session() as s:
        for n in range(24):
            data = picture(n)
            images.put_image(s, channel_id, ImageRow(f"i{n:02d}", image_info(data), data))
    job_id = start(db, channel_id, {"adapter": {"method": "pfeiffer", **ADAPTER}, "fit": FIT})
    worker.work_once()
    job = row(db, channel_id, job_id)
    assert job.state == JobState.SUCCEEDED, job.error
    assert job.result["test"]["adapter"]["ndcg10"] > job.result["test"]["zero_shot"]["ndcg10"]
    with db.read() as s:
        adapter = registry.get_adapter(s, channel_id, 1, with_weights=True)
        stored = vectors.load_vectors(s, channel_id, adapter.sha256, adapter.backbone_fingerprint)
    assert stored is not None
    assert content_digest(picture(3)) in snapshot_from_bytes(stored)


def test_a_job_may_make_a_challenger(environment: Database, backbone: Backbone, tmp_path: Path) -> None:
    db, channel_id = environment, fill(environment, backbone, tmp_path)
    job_id = start(db, channel_id, CONFIG | {"as_challenger": {"share": 0.1, "rule": {"z": 4}}})
    worker.work_once()
    job = row(db, channel_id, job_id)
    assert job.state == JobState.SUCCEEDED, job.error
    with db.read() as s:
        assert releases.champion(s, channel_id).version == 0
        found = rollouts.the_challenger(s, channel_id)
        move = aliases.history(s, channel_id)[-1]
    assert found.release.version == job.adapter_version == 1
    assert (found.rollout.share, found.rollout.shadow, found.rule) == (0.1, False, Rule(z=4))
    assert (move.alias, move.actor, move.reason) == (
        "challenger",
        "training",
        f"training job {job_id} passed the gate",
    )


def test_an_adapter_below_the_champion_is_kept_but_not_promoted(
    environment: Database, backbone: Backbone, tmp_path: Path
) -> None:
    db, channel_id = environment, fill(environment, backbone, tmp_path)
    good, poor = start(db, channel_id, CONFIG), None
    worker.work_once()
    poor = start(db, channel_id, {"adapter": ADAPTER, "fit": FIT | {"max_epochs": 1, "learning_rate": 1e-7}})
    worker.work_once()
    assert row(db, channel_id, good).state == JobState.SUCCEEDED
    refused = row(db, channel_id, poor)
    assert refused.state == JobState.REJECTED
    assert "below" in refused.result["gate"]["reason"]
    with db.read() as s:
        assert releases.champion(s, channel_id).version == 1
        assert [a.version for a in registry.list_adapters(s, channel_id)] in ([1, 2], [2, 1])


def test_too_little_data_fails_with_the_numbers_it_needs(
    environment: Database, backbone: Backbone, tmp_path: Path
) -> None:
    db, channel_id = environment, fill(environment, backbone, tmp_path, users=3)
    job_id = start(db, channel_id, {})
    worker.run_waiting()
    job = row(db, channel_id, job_id)
    assert job.state == JobState.FAILED
    assert job.error is not None
    assert "3 user(s) with at least 5 interactions, 20 are needed" in job.error


def test_a_wrong_config_fails_and_says_where(
    environment: Database, backbone: Backbone, tmp_path: Path
) -> None:
    db, channel_id = environment, fill(environment, backbone, tmp_path)
    job_id = start(db, channel_id, {"fit": {"max_epochs": 0}})
    worker.run_waiting()
    job = row(db, channel_id, job_id)
    assert job.state == JobState.FAILED
    assert "max_epochs" in str(job.error)


def long_job(db: Database, channel_id: str) -> str:
    return start(db, channel_id, {"adapter": ADAPTER, "fit": FIT | {"max_epochs": 1000, "patience": 1000}})


def test_cancel_ends_a_running_job(environment: Database, backbone: Backbone, tmp_path: Path) -> None:
    db, channel_id = environment, fill(environment, backbone, tmp_path)
    job_id = long_job(db, channel_id)
    thread = threading.Thread(target=worker.run_waiting)
    thread.start()
    wait(lambda: row(db, channel_id, job_id).progress.get("step", 0) > 0)
    with db.session() as s:
        jobs.request_cancel(s, channel_id, job_id)
    thread.join(30)
    assert not thread.is_alive()
    assert row(db, channel_id, job_id).state == JobState.CANCELLED
    with db.read() as s:
        assert releases.champion(s, channel_id).version == 0


def test_channels_that_train_side_by_side_train_as_each_alone(
    environment: Database, backbone: Backbone, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    db, channel_id = environment, fill(environment, backbone, tmp_path)
    config = {"adapter": ADAPTER, "fit": FIT | {"max_epochs": 12, "patience": 12}, "promote": False}
    alone = start(db, channel_id, config)
    worker.run_waiting()
    together = [start(db, channel_id, config) for _ in range(2)]
    backbones, most = set(), 0

    def seen(*args: Any) -> bool:
        nonlocal most
        backbones.add(id(args[1]))
        most = max(most, sum(row(db, channel_id, job).state == JobState.RUNNING for job in together))
        return work_on(*args)

    monkeypatch.setattr(worker, "work_on", seen)
    monkeypatch.setattr(worker, "STOPPING", threading.Event())
    ended = lambda: all(row(db, channel_id, job).finished_at for job in together)  # noqa: E731
    with worker.beside(2):
        wait(ended)
        worker.STOPPING.set()
    assert most == 2
    assert len(backbones) == 1
    curves = [row(db, channel_id, job).result["curve"] for job in (alone, *together)]
    for curve in curves[1:]:
        for expected, found in zip(curves[0], curve, strict=True):
            assert {**found, "seconds": 0} == {**expected, "seconds": 0}


def test_kill_9_is_taken_over_and_resumed(environment: Database, backbone: Backbone, tmp_path: Path) -> None:
    db, channel_id = environment, fill(environment, backbone, tmp_path)
    job_id = start(db, channel_id, {"adapter": ADAPTER, "fit": FIT | {"max_epochs": 30, "patience": 30}})
    process = subprocess.Popen([sys.executable, "-m", "training.worker"], env=dict(os.environ))
    try:
        wait(lambda: _checkpointed_epochs(db, job_id) >= 1)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    at_kill = row(db, channel_id, job_id)
    assert at_kill.state == JobState.RUNNING
    wait(lambda: _claimable(db, job_id), 10)  # the lease runs out
    worker.run_waiting()
    job = row(db, channel_id, job_id)
    assert job.state == JobState.SUCCEEDED, job.error
    assert job.attempts == 2
    assert [c["epoch"] for c in job.result["curve"]] == list(range(30))  # no epoch twice, none left out


def _checkpointed_epochs(db: Database, job_id: str) -> int:
    with db.read() as s:
        kept = jobs.load_checkpoint(s, job_id)
        return int(kept.state["fit"]["epoch"]) if kept else 0


def _claimable(db: Database, job_id: str) -> bool:
    with db.read() as s:
        return job_id in jobs.claimable(s)


def test_sigterm_gives_the_job_back_at_once(
    environment: Database, backbone: Backbone, tmp_path: Path
) -> None:
    db, channel_id = environment, fill(environment, backbone, tmp_path)
    job_id = long_job(db, channel_id)
    process = subprocess.Popen([sys.executable, "-m", "training.worker"], env=dict(os.environ))
    try:
        wait(lambda: row(db, channel_id, job_id).progress.get("step", 0) > 0)
        process.terminate()
        assert process.wait(30) == 0
    finally:
        process.kill()
    assert _claimable(db, job_id)


def test_the_queue_may_be_away(
    environment: Database, backbone: Backbone, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    db, channel_id = environment, fill(environment, backbone, tmp_path)
    monkeypatch.setenv("TRANSREC_REDIS_URL", f"unix://{tmp_path}/nobody.sock")
    get_settings.cache_clear()
    worker.wake.cache_clear()
    job_id = start(db, channel_id, CONFIG)
    assert not Wake(get_settings().redis_url).job(job_id)
    worker.work_once()
    assert row(db, channel_id, job_id).state == JobState.SUCCEEDED


def test_a_lost_lease_stops_the_loser(environment: Database, backbone: Backbone, tmp_path: Path) -> None:
    db, channel_id = environment, fill(environment, backbone, tmp_path)
    job_id = start(db, channel_id, CONFIG)
    with db.session() as s:
        jobs.claim(s, job_id, lease.OWNER, 60)
    held = Lease(db, job_id, 1, threading.Event())
    with held.held():
        with db.session() as s:
            s.get_one(TrainingJob, job_id).lease_owner = "somebody else"
        wait(lambda: held._outcome is not None, 10)
        with pytest.raises(LeaseLost):
            held.check()


def test_a_checkpoint_of_another_version_of_the_code_starts_over(
    environment: Database, backbone: Backbone, tmp_path: Path
) -> None:
    db, channel_id = environment, fill(environment, backbone, tmp_path)
    job_id = start(db, channel_id, CONFIG)
    with db.session() as s:
        jobs.claim(s, job_id, lease.OWNER, 60)
        jobs.save_checkpoint(
            s, job_id, owner=lease.OWNER, step=1, state={"epoch": 3, "best": 0.5}, tensors=b"?"
        )
    assert lease.JobCheckpoints(db, job_id).load() is None


def test_a_job_that_keeps_killing_its_workers_ends(
    environment: Database, backbone: Backbone, tmp_path: Path
) -> None:
    db, channel_id = environment, fill(environment, backbone, tmp_path)
    job_id = start(db, channel_id, CONFIG)
    with db.session() as s:
        s.get_one(TrainingJob, job_id).attempts = worker.MAX_ATTEMPTS
    worker.run_waiting()
    job = row(db, channel_id, job_id)
    assert job.state == JobState.FAILED
    assert "ended 10 times" in str(job.error)


def test_a_checkpoint_too_large_for_a_row_is_not_written(
    environment: Database, backbone: Backbone, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    db, channel_id = environment, fill(environment, backbone, tmp_path)
    job_id = start(db, channel_id, CONFIG)
    with db.session() as s:
        jobs.claim(s, job_id, lease.OWNER, 60)
    checkpoints = lease.JobCheckpoints(db, job_id)
    monkeypatch.setattr(lease, "MAX_CHECKPOINT_BYTES", 15)
    checkpoints.save(FitState(), {"w": torch.zeros(4)})
    assert checkpoints.load() is None
    monkeypatch.setattr(lease, "MAX_CHECKPOINT_BYTES", 16)
    checkpoints.save(FitState(), {"w": torch.zeros(4)})
    assert checkpoints.load() is not None


def test_a_job_on_a_channel_with_deleted_items(
    environment: Database, backbone: Backbone, tmp_path: Path
) -> None:
    """Their interactions are left out; what remains of each history is trained on."""
    db, channel_id = environment, fill(environment, backbone, tmp_path)
    gone = ["i03", "i17"]
    with db.session() as s:
        assert catalog.delete_items(s, channel_id, gone) == 2
    corpus = read_corpus(db, channel_id, backbone)
    expected = {user: [i for i in ids if i not in gone] for user, ids in chains()[1].items()}
    found = sorted([corpus.item_ids[row] for row in window] for window in corpus.windows)
    assert found == sorted(expected.values())
    assert not set(gone) & set(corpus.item_ids)
    job_id = start(db, channel_id, CONFIG | {"fit": FIT | {"max_epochs": 1}})
    worker.work_once()
    job = row(db, channel_id, job_id)
    assert job.state in (JobState.SUCCEEDED, JobState.REJECTED), job.error


def test_more_images_than_a_worker_can_hold_are_refused(
    environment: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    build_backbone(tmp_path / "vit", "vit")
    pictures = load_backbone(str(tmp_path / "vit"))
    db, channel_id = environment, fill(environment, pictures, tmp_path)
    with db.session() as s:
        data = picture(1)
        images.put_image(s, channel_id, ImageRow("i01", image_info(data), data))
    monkeypatch.setattr("training.job.MAX_IMAGES_BYTES", len(data) - 1)
    with pytest.raises(Invalid, match="Send smaller images"):
        read_corpus(db, channel_id, pictures)


def test_what_fails_unexpectedly_is_tried_again(
    environment: Database, backbone: Backbone, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a device without room may be: it fails once, and the second try goes through."""
    monkeypatch.setenv("TRANSREC_RETRY_SECONDS", "0.2")
    get_settings.cache_clear()
    db, channel_id = environment, fill(environment, backbone, tmp_path)
    job_id = start(db, channel_id, CONFIG)
    tries = []

    def at_first_not(*args: Any) -> bool:
        tries.append(args)
        if len(tries) == 1:
            raise RuntimeError("out of memory")
        return work_on(*args)

    monkeypatch.setattr(worker, "work_on", at_first_not)
    worker.run_waiting()
    job = row(db, channel_id, job_id)
    assert (job.state, job.failures) == (JobState.PENDING, 1)
    wait(lambda: _claimable(db, job_id), 10)
    worker.run_waiting()
    job = row(db, channel_id, job_id)
    assert (job.state, job.attempts, job.error) == (JobState.SUCCEEDED, 2, None)


def test_what_always_fails_ends(
    environment: Database, backbone: Backbone, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRANSREC_RETRY_SECONDS", "0.001")
    get_settings.cache_clear()
    db, channel_id = environment, fill(environment, backbone, tmp_path)
    job_id = start(db, channel_id, CONFIG)

    def never(*_: Any) -> bool:
        raise RuntimeError("out of memory")

    monkeypatch.setattr(worker, "work_on", never)
    while row(db, channel_id, job_id).state != JobState.FAILED:  # one look may see several tries
        wait(lambda: _claimable(db, job_id), 10)
        worker.run_waiting()
    job = row(db, channel_id, job_id)
    assert (job.attempts, job.failures) == (worker.MAX_RETRIES + 1, worker.MAX_RETRIES)
    assert "Unexpected RuntimeError" in str(job.error)


def test_a_worker_says_that_it_lives(environment: Database, backbone: Backbone, tmp_path: Path) -> None:
    db, channel_id = environment, fill(environment, backbone, tmp_path)
    job_id = long_job(db, channel_id)
    process = subprocess.Popen([sys.executable, "-m", "training.worker"], env=dict(os.environ))
    try:
        wait(lambda: [w.job_id for w in _workers(db)] == [job_id])
        assert _workers(db)[0].alive
        process.terminate()
        assert process.wait(30) == 0
    finally:
        process.kill()
    assert _workers(db) == []


def _workers(db: Database) -> list[workers.WorkerState]:
    with db.read() as s:
        return list(workers.list_workers(s))


def test_how_fast_items_are_encoded(sqlite_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    lease = Lease(Database(sqlite_url), "job_1", 30, threading.Event())
    clock = iter([100.0, 102.0, 104.0, 200.0, 201.0])
    monkeypatch.setattr("training.job.time", SimpleNamespace(time=lambda: next(clock)))
    rates = []
    for done in (10, 30, 60, 8, 16):  # the last two are another pass
        _on_encode(lease, done, 60)
        rates.append(lease.progress["items_per_second"])
    assert rates == [None, 10.0, 12.5, None, 8.0]
    assert (lease.progress["encoded"], lease.progress["to_encode"]) == (16, 60)
