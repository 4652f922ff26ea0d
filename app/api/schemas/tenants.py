"""Tenants, what they may have, and their keys."""

from datetime import datetime, timedelta
from typing import Literal

from pydantic import AwareDatetime, Field, field_validator

from app.api.schemas.base import Answer, Body, Name, Text
from app.core.clock import now

MAX_LIMIT = 2**53 - 1  # what every reader of JSON can count to
MAX_GRACE = timedelta(days=30)


class NewTenant(Body):
    """A tenant to create."""

    name: Name


class TenantOut(Answer):
    """A tenant."""

    id: str
    name: str
    created_at: datetime


Limit = Field(None, ge=0, le=MAX_LIMIT, description="0: any number; null: back to the default.")


class MeOut(Answer):
    """Whose key came with the request; `tenant` is null for the platform's operator."""

    key_id: str
    role: str
    label: str
    tenant: str | None
    expires_at: datetime | None


class NewLimits(Body):
    """Limits to change; those that are left out stay."""

    channels: int | None = Limit
    items: int | None = Limit
    interactions: int | None = Limit
    jobs: int | None = Limit
    bytes: int | None = Limit
    requests_per_second: int | None = Field(
        None, ge=0, le=1_000_000, description="0: any number; null: back to the default."
    )


class TenantPatch(Body):
    """What to change of a tenant."""

    limits: NewLimits


class Usage(Answer):
    """How much a tenant has: `jobs` wait or run, `bytes` are of images and adapters."""

    channels: int
    items: int
    interactions: int
    jobs: int
    bytes: int


class LimitsOut(Usage):
    """Most that a tenant may have; 0: any number."""

    requests_per_second: int


class TenantRow(TenantOut):
    """A tenant in a list: its `channels`, its valid `keys`, its limits."""

    channels: int
    keys: int
    limits: LimitsOut


class TenantDetail(TenantOut):
    """A tenant with its limits, those of them that are its own, and what it has."""

    limits: LimitsOut
    overrides: dict[str, int]
    usage: Usage


class NewPlatformKey(Body):
    """A key to create."""

    label: Text = Field("", examples=["shop frontend"])
    expires_at: AwareDatetime | None = Field(None, description="When it ends to work; null: never.")

    @field_validator("expires_at")
    @classmethod
    def _comes(cls, end: datetime | None) -> datetime | None:
        if end is not None and end <= now():
            raise ValueError("it has passed: name a moment to come")
        return end


class NewKey(NewPlatformKey):
    """A key of a tenant to create."""

    role: Literal["reader", "writer", "operator"] = "reader"


class Rotation(Body):
    """How long the old key works on beside the new one."""

    grace_seconds: int = Field(0, ge=0, le=int(MAX_GRACE.total_seconds()))


class KeyOut(Answer):
    """A key without its secret."""

    id: str
    role: str
    label: str
    prefix: str
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None


class NewKeyOut(KeyOut):
    """A new key: `secret` is shown this once."""

    secret: str = Field(examples=["tr_..."])

    @classmethod
    def of(cls, key: object, secret: str) -> "NewKeyOut":
        """A key with its secret."""
        return cls(**KeyOut.model_validate(key).model_dump(), secret=secret)
