"""How a challenger is tried, and the rule that takes it back: part of requests, of jobs and of rows."""

from typing import Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

MAX_GUARD_HOURS = 336  # the windows before and after a promotion lie within what is kept


class Rule(BaseModel):
    """When a version is taken back: its click-through rate is lower by too much, and not by chance."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    min_recommendations: int = Field(
        1000, ge=10, lt=2**31, description="Judge only when either side has given so many."
    )
    max_drop: float = Field(
        0.1, ge=0, lt=1, description="Share of the other's click-through rate that it may be lower by."
    )
    # Not the 1.96 of a single look: a rule looks every few seconds, and chance gets a try each time.
    z: float = Field(3, ge=0, le=10, description="Standard errors that the difference must exceed.")


class Guard(Rule):
    """A rule for a new champion, in force for some hours after its promotion."""

    hours: float = Field(24, gt=0, le=MAX_GUARD_HOURS, description="How long it is watched.")


class Plan(BaseModel):
    """How a challenger is tried: on a share of the users, in the shadow, or both."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    share: float = Field(0, ge=0, le=1, description="Share of the users that it answers.", examples=[0.05])
    shadow: bool = Field(False, description="Ask it behind the champion's answers too, and compare.")
    rule: Rule | None = Field(None, description="When to take it back by itself; none: never.")

    @model_validator(mode="after")
    def _tries_something(self) -> Self:
        if not self.share and not self.shadow:
            raise ValueError("a challenger needs a share above 0, or shadow: true")
        return self
