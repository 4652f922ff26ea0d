"""What requests and answers look like. An unknown field in a request is an error, never ignored."""

import math
from datetime import datetime
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from app.core.names import NAME_PATTERN, Modality
from app.model.methods import AdapterConfig


def _storable(text: str) -> str:
    if "\0" in text:
        raise ValueError("a NUL character cannot be stored: leave it out")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError("half a surrogate pair cannot be stored: leave it out") from None
    return text


def _no_nan(attributes: dict[str, Any]) -> dict[str, Any]:
    # Python's JSON has it, and for tables it is a missing value. Further inside it is refused anyway.
    if any(isinstance(value, float) and math.isnan(value) for value in attributes.values()):
        raise ValueError("NaN is not a JSON number")
    return attributes


Name = Annotated[str, Field(pattern=NAME_PATTERN, examples=["books"])]
Text = Annotated[str, AfterValidator(_storable), Field(max_length=1000)]
ItemId = Annotated[str, AfterValidator(_storable), Field(min_length=1, max_length=128, examples=["item-1"])]
UserId = Annotated[str, AfterValidator(_storable), Field(min_length=1, max_length=128, examples=["user-1"])]
Attributes = Annotated[dict[str, Any], AfterValidator(_no_nan), Field(examples=[{"price": 1.5}])]


class Body(BaseModel):
    """A request."""

    model_config = ConfigDict(extra="forbid")


class Answer(BaseModel):
    """An answer, filled from a row of the database or from a plain object."""

    model_config = ConfigDict(from_attributes=True)


class NewTenant(Body):
    """A tenant to create."""

    name: Name


class TenantOut(Answer):
    """A tenant."""

    id: str
    name: str
    created_at: datetime


class NewKey(Body):
    """A key to create."""

    role: Literal["reader", "writer", "operator"] = "reader"
    label: Text = Field("", examples=["shop frontend"])


class KeyOut(Answer):
    """A key without its secret."""

    id: str
    role: str
    label: str
    prefix: str
    created_at: datetime
    revoked_at: datetime | None


class NewKeyOut(KeyOut):
    """A new key: `secret` is shown this once."""

    secret: str = Field(examples=["tr_..."])


class NewChannel(Body):
    """A channel to create."""

    name: Name
    description: Text = ""
    modality: Modality = Field("text", description="What of an item is encoded; it cannot be changed later.")


class ChannelOut(Answer):
    """A channel."""

    id: str
    name: str
    description: str
    modality: Modality
    generation: int
    created_at: datetime


class ReleaseRef(Answer):
    """Which release: version 0 is the bare backbone."""

    version: int = Field(examples=[3])
    method: str = Field(examples=["houlsby"])
    digest: str | None = Field(None, description="Names exactly this adapter, backbone and catalogue.")


class IndexOut(Answer):
    """How a release's items are searched; `recall` is its recall@10 against exact search, measured."""

    kind: str = Field(examples=["flat"])
    recall: float = Field(examples=[1.0])


class Serving(Answer):
    """What this process answers with, and why a newer release is not loaded, if so."""

    release: ReleaseRef | None
    generation: int | None
    index: IndexOut | None
    failure: str | None


class ChannelDetail(ChannelOut):
    """A channel with its counts and its champion."""

    items: int
    images: int
    interactions: int
    champion: ReleaseRef
    serving: Serving


class BadLine(Answer):
    """A line that was not accepted."""

    line: int = Field(description="In an archive: which of its members, from 1.")
    reason: str


class ImportReportOut(Answer):
    """What became of the file that was sent."""

    import_id: str
    kind: str
    format: str
    sha256: str
    status: str
    rows: int
    inserted: int
    updated: int
    unchanged: int
    error_count: int
    errors: list[BadLine]


class ImportOut(ImportReportOut):
    """What became of a file, and who sent it when."""

    import_id: str = Field(validation_alias="id")
    created_at: datetime
    created_by: str


class ItemOut(Answer):
    """An item of the catalogue."""

    item_id: str
    text: str
    attributes: dict[str, Any]


class ItemContent(Body):
    """What an item is made of; the rules are those of imports."""

    text: str = Field(
        examples=["a thing"], description="What the encoder reads; the title in a channel of images."
    )
    attributes: Attributes = Field(default_factory=dict)


class ItemPatch(Body):
    """What of an item to change: an attribute that is null is taken away, one that is left out stays."""

    text: str = Field("", examples=["another thing"], description="Left out, the text stays.")
    attributes: Attributes = Field(default_factory=dict)

    @property
    def new_text(self) -> str | None:
        """The text, None if it was left out."""
        return self.text if "text" in self.model_fields_set else None


class NewItem(ItemContent):
    """An item to store."""

    item_id: str = Field(examples=["item-1"])


class NewItems(Body):
    """Items to store, all or none."""

    items: list[NewItem] = Field(min_length=1, max_length=1000)


class ItemsStored(Answer):
    """What became of the items."""

    inserted: int
    updated: int
    unchanged: int


class ItemIds(Body):
    """Items to delete."""

    item_ids: list[ItemId] = Field(min_length=1, max_length=1000)


class ItemsDeleted(Answer):
    """How many items were deleted; unknown ids are left out of the count."""

    deleted: int


class ImageOut(Answer):
    """The image of an item."""

    item_id: str
    format: Literal["jpeg", "png", "webp"]
    width: int
    height: int
    sha256: str


class FitOptions(Body):
    """How to train; left out, the worker's defaults count."""

    objective: Literal["in_batch", "sasrec", "cpc"] | None = None
    learning_rate: float | None = Field(None, gt=0, le=1, examples=[0.001])
    item_learning_rate: float | None = Field(None, gt=0, le=1)
    negative_pool: int | None = Field(None, ge=1)
    batch_users: int | None = Field(None, ge=1, le=4096)
    max_epochs: int | None = Field(None, ge=1, le=1000)
    patience: int | None = Field(None, ge=1)
    max_seconds: float | None = Field(None, gt=0, allow_inf_nan=False)
    log_q: float | None = Field(None, ge=0, le=1)
    eval_users: int | None = Field(None, ge=1)
    checkpoint_seconds: float | None = Field(None, ge=0, allow_inf_nan=False)
    seed: int | None = Field(None, ge=0, lt=2**31)


class NewJob(Body):
    """A training job to start; every field has a default."""

    adapter: AdapterConfig = Field(default_factory=AdapterConfig)
    fit: FitOptions = Field(default_factory=FitOptions)
    warmup_epochs: int = Field(
        10,
        ge=0,
        le=100,
        description="First epochs on cached encoder states, without the item encoder's part.",
    )
    promote: bool = Field(True, description="Make it champion when it passes the quality gate.")

    def config(self) -> dict[str, Any]:
        """What the worker reads."""
        return {
            "adapter": self.adapter.model_dump(exclude_none=True),
            "fit": self.fit.model_dump(exclude_none=True),
            "warmup_epochs": self.warmup_epochs,
            "promote": self.promote,
        }


class JobOut(Answer):
    """A training job."""

    id: str
    state: str
    config: dict[str, Any]
    progress: dict[str, Any]
    result: dict[str, Any]
    error: str | None
    attempts: int
    cancel_requested: bool
    adapter_version: int | None
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    created_by: str


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
    source: str | None = None
    metrics: dict[str, Any] = Field(default_factory=dict)
    created_at: datetime | None = None


class Promotion(Body):
    """Which version to make champion."""

    version: int = Field(ge=0, lt=2**31, examples=[3])
    expected_current: int | None = Field(
        None, ge=0, lt=2**31, description="Refuse unless this is the champion now."
    )
    reason: Text = ""


class Rollback(Body):
    """Why to go back."""

    reason: Text = ""


class MoveOut(Answer):
    """A move of the champion."""

    action: str
    from_version: int | None
    to_version: int
    actor: str
    reason: str
    at: datetime


class RecommendationRequest(Body):
    """Whom to recommend to: a user whose interactions were imported, or a history, oldest first."""

    user_id: UserId | None = None
    history: list[ItemId] | None = Field(None, examples=[["item-1", "item-2"]])
    count: int = Field(10, ge=1)
    exclude_item_ids: list[ItemId] = Field(default_factory=list)
    exclude_seen: bool = Field(True, description="Leave out what is in the history.")

    @model_validator(mode="after")
    def _one_of_two(self) -> Self:
        if (self.user_id is None) == (self.history is None):
            raise ValueError("send exactly one of user_id and history")
        return self


class RecommendedOut(Answer):
    """A recommended item; `reason` says what ranked it."""

    item_id: str
    score: float
    reason: str = Field(examples=["model", "cold_start"])
    metadata: dict[str, Any]


class RecommendationOut(Answer):
    """Recommendations, all from the one release that is named."""

    recommendation_id: str
    release: ReleaseRef
    variant: str = "champion"
    items: list[RecommendedOut]


class SimilarOut(Answer):
    """Similar items, all from the one release that is named."""

    release: ReleaseRef
    items: list[RecommendedOut]


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


class ServingState(Answer):
    """The tiers and the queue of one server; device and queue by modality, host also of the `server`."""

    device: dict[str, DeviceTier]
    host: dict[str, HostTier]
    disk: DiskTier
    queue: dict[str, QueueState]


class Problem(BaseModel):
    """An error (RFC 9457); some carry more fields, such as `errors` or `report`."""

    model_config = ConfigDict(extra="allow")
    type: str = "about:blank"
    title: str
    status: int
    detail: str = Field(description="What happened, and what to do about it.")


PROBLEMS: dict[int | str, dict[str, Any]] = {
    "4XX": {"model": Problem, "description": "What is wrong with the request, and the remedy."},
    "5XX": {"model": Problem, "description": "What is wrong here; 503 says when to try again."},
}
