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
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from app.core.config import Settings
from app.core.errors import Conflict, Invalid, NotFound, TransRecError, Unavailable
from app.model.backbone import Backbones
from app.serving.batcher import Batcher
from app.serving.build import Builder
from app.serving.folders import Folders
from app.serving.host import HostTier
from app.serving.ranker import Ranker
from app.serving.release import Bundle, Release
from app.store.db import Database

log = logging.getLogger(__name__)
RETRY_SECONDS = 30.0  # a build that failed is tried again after this, or when its generation changes


@dataclass(frozen=True)
class Failure:
    """A build that failed: at which generation, when and why."""

    generation: int
    at: float
    reason: str


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
        self._building: defaultdict[str, threading.Lock] = defaultdict(threading.Lock)
        self._events: Mapping[str, int] = {}
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

    def open(self, release: Release) -> Bundle:
        """The release, opened from disk where it has to be; raises `Unavailable` if it cannot be."""
        try:
            return self.host.open(release.folder)
        except Invalid as error:
            self.live.pop(release.channel_id, None)
            self.folders.discard(release.folder)  # so that it is built again
            raise Unavailable(f"The channel's release is damaged: {error.message}", retry_after=2) from error

    def state(self) -> dict[str, Any]:
        """What lies in which tier, and how busy the model is."""
        return {
            "device": {modality: ranker.stats["device"] for modality, ranker in self.rankers.items()},
            "host": {modality: ranker.stats["host"] for modality, ranker in self.rankers.items()}
            | {"server": asdict(self.host.stats)},
            "disk": {"releases": len(self.live)},
            "queue": {m: {"waiting": b.waiting, **asdict(b.counters)} for m, b in self.batchers.items()},
        }

    def is_due(self, channel_id: str, generation: int) -> bool:
        """Whether the channel's release is to be built (again)."""
        release, failure = self.live.get(channel_id), self.failures.get(channel_id)
        if release is not None and release.generation == generation:
            return False
        if failure is not None and failure.generation == generation:
            return time.monotonic() - failure.at > RETRY_SECONDS
        return True

    def refresh(self, channel_id: str, generation: int) -> None:
        """Build the channel's release and put it live; on a failure the old one goes on answering.

        Never raises; does nothing while another thread builds this channel.
        """
        lock = self._building[channel_id]
        if not lock.acquire(blocking=False):
            return
        try:
            if self.is_due(channel_id, generation):
                self._build(channel_id, generation)
        finally:
            lock.release()

    def keep_only(self, channel_ids: set[str]) -> None:
        """Unload the channels that are gone."""
        for gone in (self.live.keys() | self.failures.keys()) - channel_ids:
            self.live.pop(gone, None)
            self.failures.pop(gone, None)
            self._building.pop(gone, None)
            self.folders.forget(gone)
            log.info("channel %s is gone: unloaded", gone)

    def _build(self, channel_id: str, generation: int) -> None:
        started = time.monotonic()
        try:
            release = self.builder.build(channel_id, self._stop_if_asked)
            self._warm(self.live.get(channel_id), release)
        except (NotFound, Unavailable) as error:
            log.warning("channel %s: not built now: %s", channel_id, error)
        except Exception as error:
            reason = (
                str(error) if isinstance(error, TransRecError) else f"{type(error).__name__}; see the log"
            )
            self.failures[channel_id] = Failure(generation, time.monotonic(), reason)
            log.exception("channel %s: the build failed, the old release goes on", channel_id)
        else:
            self.live[channel_id] = release
            self.failures.pop(channel_id, None)
            seconds = time.monotonic() - started
            log.info("channel %s: version %d is live (%.2f s)", channel_id, release.version, seconds)

    def _warm(self, old: Release | None, new: Release) -> None:
        """Open the successor of an open release before it goes live: no request waits for a swap."""
        if old is not None and old.folder in self.host:
            self.open(new)

    def _stop_if_asked(self, _done: int, _total: int) -> None:
        if self.stopping.is_set():
            raise Unavailable("The service is stopping.")
