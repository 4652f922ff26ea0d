"""Builds that failed, and when they are tried again."""

import math
import time
from dataclasses import dataclass

from app.core.errors import TransRecError, Unavailable

RETRY_SECONDS = 30.0  # a build that failed is tried again after this, or when its generation changes


@dataclass(frozen=True)
class Failure:
    """A build that failed: at which generation, when and why."""

    generation: int
    at: float
    reason: str

    def waits(self, generation: int) -> bool:
        """Whether it is too early to try this generation again."""
        return self.generation == generation and time.monotonic() - self.at <= RETRY_SECONDS


def failure_of(generation: int, error: Exception) -> Failure:
    """What to say of an error; what is only away for now is tried again at the next look."""
    reason = str(error) if isinstance(error, TransRecError) else f"{type(error).__name__}; see the log"
    return Failure(generation, -math.inf if isinstance(error, Unavailable) else time.monotonic(), reason)
