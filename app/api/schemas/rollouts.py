"""Rollouts, what they measure, and when a channel is trained again."""

from datetime import datetime
from typing import Any

from pydantic import Field, model_validator

from app.api.schemas.base import Answer, Body, Text
from app.api.schemas.jobs import NewJob
from app.core.rollout import Plan, Rule


class NewChallenger(Plan):
    """Which version to try, and how."""

    version: int = Field(ge=0, lt=2**31, examples=[4])
    expected_current: int | None = Field(
        None,
        ge=0,
        lt=2**31,
        description="Refuse unless this is the challenger now; null: unless there is none.",
    )
    reason: Text = ""


class RateOut(Answer):
    """A click-through rate: distinct recommendations with a click, of all that were given."""

    recommendations: int
    clicked: int
    ctr: float | None
    standard_error: float | None


class OnlineOut(RateOut):
    """The rate of one version, as champion or as challenger."""

    version: int
    variant: str = Field(examples=["champion"])


class ShadowOut(Answer):
    """How the challenger's answers in the shadow compare with those that were given: means over `queries`."""

    queries: int
    overlap: float | None = Field(description="Share of the given items that it would have given too.")
    same_first: float | None = Field(description="Share of the answers whose first item is the same.")


class RolloutOut(Answer):
    """The channel's challenger: how it is tried and what that has shown since `started_at`."""

    version: int
    share: float
    shadow: bool
    rule: Rule | None
    started_at: datetime
    started_by: str
    online: dict[str, RateOut] = Field(
        description="Of `champion` and `challenger`, since both are what they are."
    )
    compared: ShadowOut


class NewPolicy(Body):
    """When to train again, and how; at least one of the two conditions."""

    every_hours: float | None = Field(None, ge=0.1, le=8784, examples=[24])
    after_interactions: int | None = Field(None, ge=1, lt=2**31, examples=[10000])
    job: NewJob = Field(default_factory=NewJob)

    @model_validator(mode="after")
    def _says_when(self) -> "NewPolicy":
        if self.every_hours is None and self.after_interactions is None:
            raise ValueError("say when: every_hours, after_interactions, or both")
        return self


class PolicyOut(Answer):
    """When a channel is trained again by itself."""

    every_hours: float | None
    after_interactions: int | None
    job: dict[str, Any]
    interactions: int = Field(description="Those that the channel had when its last job began.")
    last_job_at: datetime | None
    updated_at: datetime
    updated_by: str
