"""The host tier: releases that are open, mapped into memory, as many as a budget of bytes holds."""

import threading
import time
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

from cachetools import LRUCache

from app.serving.release import Bundle, open_bundle


@dataclass(slots=True)
class HostStats:
    """Questions that found their release open, that opened it, what left for it and the seconds it took;
    what is open now.
    """

    hits: int = 0
    misses: int = 0
    evictions: int = 0
    seconds: float = 0.0
    releases: int = 0
    bytes: int = 0


class HostTier:
    """Open releases by folder, those used last; safe to share between threads.

    What makes room is closed when nobody uses it any more, and so is a release whose folder was removed, once
    its channel has a new one: a mapped file without a name would hold memory and disk for nothing.
    """

    def __init__(self, budget: int) -> None:
        self.stats = HostStats()
        self._open: LRUCache[Path, Bundle] = LRUCache(budget, getsizeof=lambda bundle: bundle.nbytes)
        self._of_channel: defaultdict[Path, set[Path]] = defaultdict(set)
        self._lock = threading.Lock()

    def __contains__(self, folder: Path) -> bool:
        """Whether it is open; does not count as a use."""
        with self._lock:
            return folder in self._open

    def get(self, folder: Path) -> Bundle | None:
        """The release, if it is open; never waits."""
        with self._lock:
            bundle = self._open.get(folder)
            self.stats.hits += bundle is not None
            return bundle

    def open(self, folder: Path) -> Bundle:
        """The release, opened from disk where it has to be; raises `Invalid` where it is damaged."""
        if (bundle := self.get(folder)) is not None:
            return bundle
        started = time.perf_counter()
        bundle = open_bundle(folder)
        with self._lock:
            self.stats.misses += 1
            self.stats.seconds += time.perf_counter() - started
            if bundle.nbytes <= self._open.maxsize:  # a bigger one is opened at every question
                self._keep(folder, bundle)
            self.stats.releases, self.stats.bytes = len(self._open), int(self._open.currsize)
        return bundle

    def _keep(self, folder: Path, bundle: Bundle) -> None:
        before = len(self._open) + (folder not in self._open)
        self._close_removed(folder)
        self._open[folder] = bundle
        self.stats.evictions += before - len(self._open)

    def _close_removed(self, opened: Path) -> None:
        siblings = self._of_channel[opened.parent]
        for folder in [each for each in siblings if not each.exists()]:
            siblings.discard(folder)
            self._open.pop(folder, None)
        siblings.add(opened)
