"""The engine: the frozen backbones, one a modality, and the live bundle of every channel."""

import logging
import threading
import time
from collections import defaultdict
from dataclasses import dataclass

from app.core.config import Settings
from app.core.errors import Conflict, NotFound, TransRecError, Unavailable
from app.model.backbone import Backbones
from app.serving.build import build
from app.serving.release import Bundle
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
    """Answers with `bundle(channel_id)`; `refresh` replaces one reference when a new bundle is whole."""

    def __init__(self, backbones: Backbones, db: Database, settings: Settings) -> None:
        self.backbones, self.db, self.settings = backbones, db, settings
        self.live: dict[str, Bundle] = {}
        self.failures: dict[str, Failure] = {}
        self.stopping = threading.Event()
        self._building: defaultdict[str, threading.Lock] = defaultdict(threading.Lock)

    def bundle(self, channel_id: str) -> Bundle:
        """The bundle that answers now.

        Raises `Unavailable` while the channel is not loaded, `Conflict` while it has no items.
        """
        bundle = self.live.get(channel_id)
        if bundle is None:
            failure = self.failures.get(channel_id)
            why = f": {failure.reason}" if failure else " yet; try again shortly."
            raise Unavailable(f"The channel's release is not loaded{why}", retry_after=2)
        if not bundle.items:
            raise Conflict(
                "The channel has no items to answer with. Import items; they answer as soon as they are "
                "encoded: when the channel's serving.generation has reached its generation."
            )
        return bundle

    def is_due(self, channel_id: str, generation: int) -> bool:
        """Whether the channel's bundle is to be built (again)."""
        bundle, failure = self.live.get(channel_id), self.failures.get(channel_id)
        if bundle is not None and bundle.generation == generation:
            return False
        if failure is not None and failure.generation == generation:
            return time.monotonic() - failure.at > RETRY_SECONDS
        return True

    def refresh(self, channel_id: str, generation: int) -> None:
        """Build the channel's bundle and put it live; on a failure the old one goes on answering.

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
            log.info("channel %s is gone: unloaded", gone)

    def _build(self, channel_id: str, generation: int) -> None:
        started = time.monotonic()
        try:
            bundle = build(
                self.db, self.backbones, channel_id, self.live.get(channel_id), self._stop_if_asked
            )
        except (NotFound, Unavailable) as error:
            log.warning("channel %s: not built now: %s", channel_id, error)
        except Exception as error:
            reason = (
                str(error) if isinstance(error, TransRecError) else f"{type(error).__name__}; see the log"
            )
            self.failures[channel_id] = Failure(generation, time.monotonic(), reason)
            log.exception("channel %s: the build failed, the old release goes on", channel_id)
        else:
            self.live[channel_id] = bundle
            self.failures.pop(channel_id, None)
            seconds = time.monotonic() - started
            log.info("channel %s: version %d is live (%.2f s)", channel_id, bundle.version, seconds)

    def _stop_if_asked(self, _done: int, _total: int) -> None:
        if self.stopping.is_set():
            raise Unavailable("The service is stopping.")
