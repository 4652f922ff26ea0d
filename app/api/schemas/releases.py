"""Adapters, and the releases that are made of them."""

from datetime import datetime
from typing import Any

from pydantic import Field

from app.api.schemas.base import Answer, Body, Text
from app.core.rollout import Guard


class ReleaseRef(Answer):
    """Which release: version 0 is the bare backbone."""

    version: int = Field(examples=[3])
    method: str = Field(examples=["houlsby"])
    digest: str | None = Field(None, description="Names exactly this adapter, backbone and catalogue.")


class AdapterOut(Answer):
    """An adapter without its weights."""

    version: int
    method: str
    config: dict[str, Any]
    sha256: str
    backbone_fingerprint: str
    metrics: dict[str, Any]
    source: str
    job_id: str | None
    created_at: datetime
    created_by: str


class ReleaseOut(Answer):
    """A version that can be champion; 0 is the bare backbone."""

    version: int
    method: str
    champion: bool
    challenger: bool = False
    previous: bool = Field(False, description="A rollback would return to it.")
    fits: bool = Field(True, description="False: trained on another backbone, so it cannot be used.")
    source: str | None = None
    config: dict[str, Any] = Field(default_factory=dict)
    metrics: dict[str, Any] = Field(default_factory=dict)
    trainable: int | None = Field(
        0, description="Parameters, item residuals not counted; null where that cannot be said."
    )
    bytes: int = Field(0, description="Of its weights.")
    job_id: str | None = None
    created_at: datetime | None = None
    created_by: str | None = None


class Promotion(Body):
    """Which version to make champion."""

    version: int = Field(ge=0, lt=2**31, examples=[3])
    expected_current: int | None = Field(
        None, ge=0, lt=2**31, description="Refuse unless this is the champion now."
    )
    reason: Text = ""
    guard: Guard | None = Field(
        None, description="Roll back by itself if its click-through rate is worse than its predecessor's."
    )


class Rollback(Body):
    """Why to go back."""

    expected_current: int | None = Field(
        None, ge=0, lt=2**31, description="Refuse unless this is the champion now."
    )
    reason: Text = ""


class MoveOut(Answer):
    """A move of the champion or of the challenger; to no version where it was taken back."""

    alias: str = Field(examples=["champion"])
    action: str = Field(examples=["promote"])
    from_version: int | None
    to_version: int | None
    actor: str
    reason: str
    detail: dict[str, Any] = Field(description="A rollout's share, shadow and rule; a rule's figures.")
    at: datetime
