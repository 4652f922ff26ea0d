"""The swapper: sees that a channel's generation has changed, and has its release built."""

import logging
import threading
from concurrent.futures import ThreadPoolExecutor

from app.core.errors import Unavailable
from app.serving.engine import Engine
from app.store.access import RememberedAccess
from app.store.channels import counters
from app.store.wake import Wake

log = logging.getLogger(__name__)
BUILDERS = 2  # a channel with a big catalogue must not hold up the others


class Swapper:
    """A thread that looks at the generations at every wake-up, and every `poll_seconds` anyway."""

    def __init__(self, engine: Engine, wake: Wake, access: RememberedAccess) -> None:
        self.engine, self.wake, self.access = engine, wake, access
        self._thread = threading.Thread(target=self._run, name="swapper", daemon=True)
        self._builders = ThreadPoolExecutor(BUILDERS, thread_name_prefix="builder")

    def start(self) -> None:
        """Start looking."""
        self._thread.start()

    def stop(self) -> None:
        """Stop after the present look; a build in progress is dropped."""
        self.engine.stop()
        self._thread.join()
        self._builders.shutdown(cancel_futures=True)

    def look(self) -> None:
        """Have every channel built whose generation is not its bundle's; unload those that are gone."""
        try:
            with self.engine.db.read() as s:
                self.access.look(s)
                found = counters(s)
        except Unavailable as error:
            log.warning("the database is away, the live releases go on: %s", error)
            return
        self.engine.note_events({channel_id: events for channel_id, (_, events) in found.items()})
        self.access.keep_only(found.keys())
        self.engine.keep_only(set(found))
        for channel_id, (generation, _) in found.items():
            if self.engine.is_due(channel_id, generation):
                self._builders.submit(self.engine.refresh, channel_id, generation)

    def _run(self) -> None:
        stopping, seconds = self.engine.stopping, self.engine.settings.poll_seconds
        while not stopping.is_set():
            self._look_safely()
            for _ in self.wake.listen(seconds):
                if stopping.is_set():
                    return
                self._look_safely()
            stopping.wait(seconds)  # Redis is away: poll

    def _look_safely(self) -> None:
        try:
            self.look()
        except Exception:
            log.exception("the look at the generations failed; looking again at the next poll")
