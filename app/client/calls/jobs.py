"""Training jobs."""

from collections.abc import Mapping
from typing import Any, Literal

from app.api.schemas.jobs import JobOut, MethodOut, NewJob, WorkerOut
from app.client.call import ADMIN, Call, at, many, one
from app.core.rollout import Plan
from app.model.methods import recommended


def train(
    channel: str,
    method: str | None = None,
    *,
    knobs: Mapping[str, Any] | None = None,
    fit: Mapping[str, Any] | None = None,
    warmup_epochs: int = 10,
    promote: bool = True,
    priority: Literal["low", "normal", "high"] = "normal",
    as_challenger: Plan | None = None,
) -> Call[JobOut]:
    """Start a training job: a `method` with its `knobs`, and how to `fit` (`max_epochs`, `max_seconds`, ...).

    Without a method the knobs are changes of what is recommended.
    What passes the gate becomes champion, or with a plan challenger, unless `promote` is False.
    """
    asked = {
        "adapter": {**({"method": method} if method else recommended()), **(knobs or {})},
        "fit": fit or {},
        "warmup_epochs": warmup_epochs,
        "promote": promote,
        "priority": priority,
    }
    body = NewJob.model_validate(asked | ({"as_challenger": as_challenger} if as_challenger else {}))
    return Call("POST", path(channel), one(JobOut), body)


def methods(channel: str) -> Call[list[MethodOut]]:
    """The methods that the channel can be trained by, with their knobs."""
    return Call("GET", at(ADMIN, "channels", channel, "methods"), many(MethodOut))


def jobs(channel: str, limit: int = 100, before: str | None = None) -> Call[list[JobOut]]:
    """The channel's training jobs, newest first; `before` a job's id: the next page."""
    return Call("GET", path(channel), many(JobOut), query={"limit": limit, "before": before})


def job(channel: str, job_id: str) -> Call[JobOut]:
    """A training job: state, progress, result."""
    return Call("GET", path(channel, job_id), one(JobOut))


def cancel_job(channel: str, job_id: str) -> Call[JobOut]:
    """Cancel a waiting job at once, or ask the worker of a running one to stop."""
    return Call("POST", path(channel, job_id, "cancel"), one(JobOut))


def workers() -> Call[list[WorkerOut]]:
    """The training workers of the last day (platform operator)."""
    return Call("GET", at(ADMIN, "workers"), many(WorkerOut), of_tenant=False)


def path(channel: str, *parts: str) -> str:
    """The path of a channel's jobs, or of what belongs to one."""
    return at(ADMIN, "channels", channel, "training-jobs", *parts)
