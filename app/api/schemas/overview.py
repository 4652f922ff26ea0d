"""Channels at a glance."""

from datetime import datetime
from typing import Literal

from pydantic import Field

from app.api.schemas.base import Answer
from app.api.schemas.channels import ChallengerRef
from app.api.schemas.releases import ReleaseRef
from app.api.schemas.rollouts import RateOut
from app.core.names import Modality


class ScoresOut(Answer):
    """The champion and popularity on the test split, as measured when the champion was trained."""

    hr10: float | None
    ndcg10: float | None
    popularity_hr10: float | None
    popularity_ndcg10: float | None
    lift: float | None = Field(description="Of HR@10 over popularity's: 0.5 is half as much again.")


class ServingNow(Answer):
    """What this process answers with."""

    generation: int | None = Field(description="Null while no release is loaded.")
    behind: bool = Field(description="A newer generation is to be built.")
    failure: str | None


class ImportRef(Answer):
    """The newest import."""

    kind: str
    status: str
    inserted: int
    error_count: int
    created_at: datetime


class JobRef(Answer):
    """The training job that runs, or else the newest."""

    id: str
    state: str
    error: str | None
    created_at: datetime
    finished_at: datetime | None


class ChannelState(Answer):
    """A channel at a glance."""

    id: str
    tenant: str
    name: str
    description: str
    modality: Modality
    created_at: datetime
    changed_at: datetime = Field(description="Of the newest import, job or move of a release.")
    health: Literal["failed", "behind", "training", "empty", "ok"]
    reason: str
    items: int
    interactions: int
    champion: ReleaseRef
    challenger: ChallengerRef | None
    scores: ScoresOut | None = Field(description="Null without a trained champion.")
    recommendations_hour: int
    day: RateOut = Field(description="Recommendations and clicks of the last 24 hours.")
    hourly: list[int] = Field(description="Recommendations of each of these hours, oldest first.")
    serving: ServingNow
    last_import: ImportRef | None
    job: JobRef | None


class LatencyOut(Answer):
    """Of the recommendations of this process since it started, of all channels together."""

    requests: int
    p50_ms: float | None
    p99_ms: float | None


class Summary(Answer):
    """All channels that the key sees, whatever is searched for."""

    channels: int
    ready: int = Field(description="Those that answer with items.")
    health: dict[str, int] = Field(description="How many channels are in which.")
    jobs_open: int = Field(description="Channels with a training job that waits or runs.")
    recommendations_hour: int
    latency: LatencyOut


class OverviewOut(Answer):
    """A page of channels."""

    summary: Summary
    found: int = Field(description="Channels that match the search.")
    channels: list[ChannelState]
    next: str | None = Field(description="`after` of the next page; null: this is the last one.")


class HourOut(Answer):
    """An hour of a channel's answers."""

    at: datetime = Field(description="Its start.")
    champion: RateOut
    challenger: RateOut
