"""The engine: which release answers for each channel, and in which tier it lies.

    device    the adapters' slots in the bank, at most `device_adapter_bytes`        (app.model.bank)
    host      open releases, mapped into memory, at most `host_bytes`                (here)
    disk      every champion's folder, shared by the processes of this machine       (app.serving.folders)
    database  the rows that any machine can build it from                            (app.serving.build)

What is asked for moves up; what was asked for longest ago makes room. Nothing in use is ever taken away: a
query holds its bundle, a batch its slots.
"""

import logging
import threading
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from typing import Any

from app.core import metrics
from app.core.attribution import Variant
from app.core.config import Settings
from app.core.errors import Conflict, Invalid, NotFound, OutOfSpace, Unavailable
from app.core.memory import resident_bytes
from app.model.backbone import Backbones
from app.serving.batcher import Batcher
from app.serving.build import Builder
from app.serving.challengers import Challengers
from app.serving.failures import Failure, failure_of
from app.serving.folders import Folders
from app.serving.host import HostTier
from app.serving.ranker import Ranker
from app.serving.release import Bundle, Release
from app.serving.source import read_targets
from app.store.db import Database

log = logging.getLogger(__name__)


class Engine:
    """`live` says what answers; `refresh` replaces one reference when a new release is whole."""

    def __init__(self, backbones: Backbones, db: Database, settings: Settings) -> None:
        self.backbones, self.db, self.settings = backbones, db, settings
        self.folders = Folders(settings.home / "releases")
        self.builder = Builder(db, backbones, self.folders, settings.index, settings.device_adapter_bytes)
        self.live: dict[str, Release] = {}
        self.failures: dict[str, Failure] = {}
        self.stopping = threading.Event()
        self.host = HostTier(settings.resolved_host_bytes)
        self.challengers = Challengers(self.builder, self.host, self._stop_if_asked)
        self._building: defaultdict[str, threading.Lock] = defaultdict(threading.Lock)
        self._events: Mapping[str, int] = {}
        self._left_over = self.folders.channels()  # some may have been deleted while no server ran
        names = {"text": settings.backbone, "image": settings.image_backbone}
        self.rankers = {
            modality: Ranker(modality, names[modality], settings) for modality in backbones.fingerprints()
        }
        self.batchers = {
            modality: Batcher(ranker.rank, settings.max_queue, settings.queue_seconds)
            for modality, ranker in self.rankers.items()
        }

    def start(self) -> None:
        """Start answering: returns when the models are loaded."""
        for ranker in self.rankers.values():
            ranker.start()
        for batcher in self.batchers.values():
            batcher.start()

    def stop(self) -> None:
        """Stop building, answer what waits."""
        self.stopping.set()
        for batcher in self.batchers.values():
            batcher.stop()
        for ranker in self.rankers.values():
            ranker.stop()

    def note_events(self, revisions: Mapping[str, int]) -> None:
        """Remember the events_revision of every channel, as of the last look."""
        self._events = revisions

    def events_revision(self, channel_id: str) -> int:
        """The newest revision of a channel's interactions that this process knows of."""
        return self._events.get(channel_id, 0)

    def release(self, channel_id: str) -> Release:
        """The release that answers now.

        Raises `Unavailable` while the channel is not loaded, `Conflict` while it has no items.
        """
        release = self.live.get(channel_id)
        if release is None:
            failure = self.failures.get(channel_id)
            why = f": {failure.reason}" if failure else " yet; try again shortly."
            raise Unavailable(f"The channel's release is not loaded{why}", retry_after=2)
        if not release.facts.items:
            raise Conflict(
                "The channel has no items to answer with. Import items; they answer as soon as they are "
                "encoded: when the channel's serving.generation has reached its generation."
            )
        return release

    def pick(self, channel_id: str, who: object) -> tuple[Variant, Release]:
        """Which release answers for whom (a user's id, or a history for want of one), and as what.

        Raises as `release` does.
        """
        champion, challenger = self.release(channel_id), self.challengers.live.get(channel_id)
        if challenger is not None and challenger.answers(who):
            return "challenger", challenger.release
        return "champion", champion

    def open(self, release: Release) -> Bundle:
        """The release, opened from disk where it has to be; raises `Unavailable` if it cannot be."""
        try:
            return self.host.open(release.folder)
        except Invalid as error:
            if self.live.get(release.channel_id) is release:
                self.live.pop(release.channel_id, None)
            self.challengers.drop(release)
            self.folders.discard(release.folder)  # so that it is built again
            raise Unavailable(f"The channel's release is damaged: {error.message}", retry_after=2) from error

    def state(self) -> dict[str, Any]:
        """What lies in which tier, and how busy the model is."""
        return {
            "device": {modality: ranker.stats["device"] for modality, ranker in self.rankers.items()},
            "host": {modality: ranker.stats["host"] for modality, ranker in self.rankers.items()}
            | {"server": asdict(self.host.stats)},
            "disk": {"releases": len(self.live) + len(self.challengers.live)},
            "queue": {m: {"waiting": b.waiting, **asdict(b.counters)} for m, b in self.batchers.items()},
        }

    def memory(self) -> dict[str, int]:
        """Resident bytes of this process (`server`) and of each modality's model, of those that can be read.

        Pages that processes share, those of releases above all, count in each of them.
        """
        found = {"server": resident_bytes()}
        found |= {modality: resident_bytes(r.pid) for modality, r in self.rankers.items() if r.pid}
        return {name: size for name, size in found.items() if size is not None}

    def gpu(self) -> dict[str, int]:
        """Bytes that the models' processes have `allocated` and `reserved` on the GPU, and its `total`."""
        found: list[dict[str, int]] = [r.stats["gpu"] for r in self.rankers.values() if r.stats.get("gpu")]
        if not found:
            return {}
        both = {kind: sum(memory[kind] for memory in found) for kind in ("allocated", "reserved")}
        return both | {"total": found[0]["total"]}  # the models share one GPU

    def is_due(self, channel_id: str, generation: int) -> bool:
        """Whether the channel's release, or its challenger's, is to be built (again)."""
        release = self.live.get(channel_id)
        if release is None or release.generation != generation:
            failure = self.failures.get(channel_id)
            return failure is None or not failure.waits(generation)
        return self.challengers.is_due(release)

    def refresh(self, channel_id: str, generation: int) -> None:
        """Build the channel's release and put it live, then its challenger's; a failure leaves what is there.

        Never raises; does nothing while another thread builds the same.
        """
        with _if_free(self._building[channel_id]) as mine:
            if mine and self._is_old(channel_id, generation) and self.is_due(channel_id, generation):
                self._build(channel_id, generation)
        with _if_free(self._building[f"{channel_id} challenger"]) as mine:
            champion = self.live.get(channel_id)
            if mine and champion is not None and self.challengers.is_due(champion):
                self._build_challenger(channel_id)

    def keep_only(self, channel_ids: set[str]) -> None:
        """Unload the channels that are gone."""
        known, self._left_over = self.live.keys() | self.failures.keys() | self._left_over, set()
        for gone in known - channel_ids:
            self.challengers.forget(gone)
            self.live.pop(gone, None)
            self.failures.pop(gone, None)
            self._building.pop(gone, None)
            self._building.pop(f"{gone} challenger", None)
            self.folders.forget(gone)
            log.info("channel %s is gone: unloaded", gone)

    def _is_old(self, channel_id: str, generation: int) -> bool:
        release = self.live.get(channel_id)
        return release is None or release.generation != generation

    def _build(self, channel_id: str, generation: int) -> None:
        started = time.monotonic()
        try:
            champion, trial = read_targets(self.db, channel_id)
            release = self.builder.make(champion, self._stop_if_asked)
            self._warm(self.live.get(channel_id), release)
        except (NotFound, Unavailable) as error:
            log.warning("channel %s: not built now: %s", channel_id, error)
            if isinstance(error, OutOfSpace):  # shown, for somebody has to free space
                self.failures[channel_id] = failure_of(generation, error)
        except Exception as error:
            self.failures[channel_id] = failure_of(generation, error)
            log.exception("channel %s: the build failed, the old release goes on", channel_id)
        else:
            self.challengers.note(channel_id, trial)
            if channel_id in self.challengers.live:
                # First, for the champion's generation says that what changed has reached all answers.
                self.challengers.place(channel_id, release)
            self.live[channel_id] = release
            self.failures.pop(channel_id, None)
            seconds = time.monotonic() - started
            metrics.SWAP_SECONDS.observe(seconds)
            log.info("channel %s: version %d is live (%.2f s)", channel_id, release.version, seconds)

    def _build_challenger(self, channel_id: str) -> None:
        self.challengers.prepare(channel_id)
        with self._building[channel_id]:  # while no champion is put in place
            champion = self.live.get(channel_id)
            if champion is not None and self.challengers.is_due(champion):
                self.challengers.place(channel_id, champion)

    def _warm(self, old: Release | None, new: Release) -> None:
        """Open the successor of an open release before it goes live: no request waits for a swap."""
        if old is not None and old.folder in self.host:
            self.open(new)

    def _stop_if_asked(self, _done: int, _total: int) -> None:
        if self.stopping.is_set():
            raise Unavailable("The service is stopping.")


@contextmanager
def _if_free(lock: threading.Lock) -> Iterator[bool]:
    mine = lock.acquire(blocking=False)
    try:
        yield mine
    finally:
        if mine:
            lock.release()
