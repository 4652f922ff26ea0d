"""The tiers and the queue of a server."""

from datetime import datetime

from pydantic import Field

from app.api.schemas.base import Answer


class DeviceTier(Answer):
    """Adapters in the slots of a bank; one counts once a batch."""

    resident_bytes: int
    hits: int
    misses: int
    evictions: int
    load_seconds: float


class HostTier(Answer):
    """Releases that one process has open, mapped into memory."""

    releases: int
    bytes: int
    hits: int
    misses: int
    evictions: int
    seconds: float = Field(description="Spent on opening.")


class DiskTier(Answer):
    """Releases that lie whole on this machine's disk."""

    releases: int


class QueueState(Answer):
    """What waits for the model, and what became of what has waited."""

    waiting: int
    answered: int
    batches: int
    refused: int = Field(description="Answered 429 because the queue, or the channel's share, was full.")
    expired: int = Field(description="Answered 429 because they waited too long.")
    failed: int


class ShadowState(Answer):
    """What became of the questions to challengers in the shadow."""

    compared: int
    dropped: int = Field(description="Not asked, because others waited for the model.")
    failed: int


class Budgets(Answer):
    """Most bytes that a tier may hold in one process."""

    device: int
    host: int


class ServingState(Answer):
    """The tiers and the queue of one server; device and queue by modality, host also of the `server`."""

    version: str
    started_at: datetime
    database: str = Field(examples=["postgresql"])
    device_name: str = Field(examples=["cpu"])
    memory: dict[str, int] = Field(
        description="Resident bytes of the `server` and of each modality's model; shared pages count in each."
    )
    gpu: dict[str, int] = Field(description="Bytes `allocated`, `reserved` and in `total`; empty: no GPU.")
    budgets: Budgets
    device: dict[str, DeviceTier]
    host: dict[str, HostTier]
    disk: DiskTier
    queue: dict[str, QueueState]
    shadow: ShadowState
