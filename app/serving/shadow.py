"""The shadow: after a champion's answer the challenger is asked the same, and nobody sees what it says."""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass

from app.core.attribution import Variant
from app.core.errors import TooBusy
from app.serving.batcher import MAX_BATCH
from app.serving.engine import Engine
from app.serving.rank import Query, Ranked
from app.serving.release import Bundle, Release
from app.serving.traffic import Traffic

log = logging.getLogger(__name__)
SHORT = MAX_BATCH // 2  # only while fewer queries wait: it goes along with a batch that has room
MOST = 64  # at once
QUEUE = "shadow"  # all of them take one channel's turn: no channel has this id


@dataclass(slots=True)
class Counters:
    """What became of the questions since the start."""

    compared: int = 0
    dropped: int = 0
    failed: int = 0


class Shadow:
    """Asks challengers in the background, where there is room; belongs to the event loop."""

    def __init__(self, engine: Engine, traffic: Traffic) -> None:
        self._engine, self._traffic = engine, traffic
        self._running: set[asyncio.Task[None]] = set()
        self.counters = Counters()

    def offer(
        self, channel_id: str, variant: Variant, given: tuple[Bundle, Ranked], ask: Callable[[Bundle], Query]
    ) -> None:
        """Compare an answer with the challenger's, if the channel has one in the shadow; returns at once.

        `ask` makes the same query of the challenger's release, whose rows are others.
        """
        challenger = self._engine.challengers.live.get(channel_id)
        if challenger is None or not challenger.shadow or variant != "champion":
            return
        waiting = self._engine.batchers[challenger.release.modality].waiting
        if waiting >= SHORT or len(self._running) >= MOST:
            self.counters.dropped += 1
            return
        task = asyncio.get_running_loop().create_task(self._compare(challenger.release, given, ask))
        self._running.add(task)
        task.add_done_callback(self._running.discard)

    async def stop(self) -> None:
        """Ask no more."""
        for task in self._running:
            task.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)

    async def _compare(
        self, release: Release, given: tuple[Bundle, Ranked], ask: Callable[[Bundle], Query]
    ) -> None:
        try:
            bundle = self._engine.host.get(release.folder)
            if bundle is None:
                bundle = await asyncio.to_thread(self._engine.open, release)
            query = ask(bundle)
            if not query.history:  # its catalogue has none of these items
                return
            found = await self._engine.batchers[release.modality].ask(QUEUE, query)
            overlap, same_first = compare(_ids(*given), _ids(bundle, found))
        except TooBusy:
            self.counters.dropped += 1
        except Exception:
            self.counters.failed += 1
            log.warning("channel %s: a shadow answer failed", release.channel_id, exc_info=True)
        else:
            self.counters.compared += 1
            self._traffic.compared(release.channel_id, release.version, overlap, same_first)


def compare(given: list[str], other: list[str]) -> tuple[float, bool]:
    """The share of the given items that the other list has too, and whether both begin with the same."""
    if not given:
        return float(not other), not other
    return len(set(given) & set(other)) / len(given), given[:1] == other[:1]


def _ids(bundle: Bundle, ranked: Ranked) -> list[str]:
    return [bundle.catalog.item_id(row) for row, _ in ranked]
