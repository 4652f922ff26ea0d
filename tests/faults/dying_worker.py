"""A training worker that ends by SIGKILL at one place of its work: `FAULT_AT` names it."""

import os
import signal
from collections.abc import Callable
from typing import Any

from app.store import jobs
from training import finetune, job, lease, worker

PLACES: dict[str, tuple[Any, str, bool]] = {
    "claimed": (worker, "work_on", False),
    "encoding": (finetune, "pooled_states", False),
    "training": (lease.JobCheckpoints, "save", True),
    "evaluating": (job, "_measure", False),
    "publishing": (jobs, "finish", True),  # all is written, and nothing committed
    "published": (worker, "work_on", True),  # before anybody is told
}
"""Of which module or class which function, and whether it has done its work when the end comes."""


def deadly(function: Callable[..., Any], after: bool) -> Callable[..., Any]:
    """The function with an end before it or after it."""

    def replaced(*args: Any, **kwargs: Any) -> None:
        if after:
            function(*args, **kwargs)
        os.kill(os.getpid(), signal.SIGKILL)

    return replaced


if __name__ == "__main__":
    owner, name, after = PLACES[os.environ.pop("FAULT_AT")]
    setattr(owner, name, deadly(getattr(owner, name), after))
    worker.main()
