"""Challengers: releases on trial beside the champions; what befalls them must not befall a champion."""

import hashlib
import logging
from dataclasses import dataclass

from app.core.errors import Unavailable
from app.model.encode import Progress
from app.serving.build import Builder
from app.serving.failures import Failure, failure_of
from app.serving.host import HostTier
from app.serving.release import Release
from app.serving.source import Trial

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Challenger:
    """A release on trial: which share of the users it answers, and whether it is asked in the shadow."""

    release: Release
    share: float
    shadow: bool

    def answers(self, who: object) -> bool:
        """Whether this user is in the share: always the same ones, and all of them still when it grows."""
        if not self.share or not self.release.facts.items:
            return False
        name = f"{self.release.channel_id}\0{self.release.version}\0{who}"
        # A history may hold half a surrogate pair.
        digest = hashlib.blake2b(name.encode(errors="surrogatepass"), digest_size=8).digest()
        return int.from_bytes(digest) < self.share * 2**64


class Challengers:
    """`live` holds those that answer, by channel; a challenger whose build fails answers nobody."""

    def __init__(self, builder: Builder, host: HostTier, progress: Progress) -> None:
        self._builder, self._host, self._progress = builder, host, progress
        self.live: dict[str, Challenger] = {}
        self.failures: dict[str, Failure] = {}
        self._trials: dict[str, Trial] = {}

    def note(self, channel_id: str, trial: Trial | None) -> None:
        """Remember what is to be tried, as of the champion that goes live now."""
        if trial is None:
            self.forget(channel_id)
            return
        self._trials[channel_id] = trial
        live = self.live.get(channel_id)
        if live is not None and live.release.version != trial.target.version:
            self.live.pop(channel_id, None)

    def is_due(self, champion: Release) -> bool:
        """Whether the challenger beside this champion is to be built (again)."""
        live, failure = self.live.get(champion.channel_id), self.failures.get(champion.channel_id)
        if champion.channel_id not in self._trials:
            return False
        if live is not None and live.release.generation == champion.generation:
            return False
        return failure is None or not failure.waits(champion.generation)

    def prepare(self, channel_id: str) -> None:
        """Build what `place` will find on disk: a first build takes long, and no champion waits for it."""
        self._make(channel_id)

    def place(self, channel_id: str, champion: Release) -> None:
        """Put the challenger beside its champion; what has changed since it was last built is built now."""
        trial = self._trials.get(channel_id)
        release = self._make(channel_id, champion)
        if trial is not None and release is not None:
            self.live[channel_id] = Challenger(release, trial.share, trial.shadow)
            self.failures.pop(channel_id, None)
            log.info("channel %s: version %d is challenger", channel_id, release.version)

    def drop(self, release: Release) -> None:
        """Answer with a damaged release no more; the next look has it built again."""
        live = self.live.get(release.channel_id)
        if live is not None and live.release is release:
            self.live.pop(release.channel_id, None)

    def forget(self, channel_id: str) -> None:
        """The channel has no challenger any more."""
        for known in (self.live, self.failures, self._trials):
            known.pop(channel_id, None)

    def _make(self, channel_id: str, champion: Release | None = None) -> Release | None:
        trial = self._trials.get(channel_id)
        if trial is None:
            return None
        try:
            release = self._builder.make(trial.target, self._progress, lane="challenger-")
            # As its champion: no request waits for the disk.
            if champion is not None and champion.folder in self._host:
                self._host.open(release.folder)
        except Exception as error:
            self.live.pop(channel_id, None)
            self.failures[channel_id] = failure_of(trial.target.generation, error)
            log.warning("channel %s: no challenger: %s", channel_id, error, exc_info=_unexpected(error))
            return None
        return release


def _unexpected(error: Exception) -> Exception | None:
    return None if isinstance(error, Unavailable) else error
