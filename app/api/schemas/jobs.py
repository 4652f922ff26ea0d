"""Training jobs."""

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from app.api.schemas.base import Answer, Body
from app.core.names import Modality
from app.core.priority import Priority
from app.core.rollout import Plan
from app.model.methods import RECOMMENDED, AdapterConfig


class FitOptions(Body):
    """How to train; left out, the worker's defaults count."""

    objective: Literal["in_batch", "sasrec", "cpc"] | None = None
    learning_rate: float | None = Field(None, gt=0, le=1, examples=[0.001])
    item_learning_rate: float | None = Field(None, gt=0, le=1)
    residual_learning_rate: float | None = Field(None, gt=0, le=1)
    warmup_steps: int | None = Field(None, ge=0)
    decay: bool | None = None
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

    adapter: AdapterConfig = Field(RECOMMENDED, description="What to train; left out: what is recommended.")
    fit: FitOptions = Field(default_factory=FitOptions)
    warmup_epochs: int = Field(
        10,
        ge=0,
        le=100,
        description="First epochs on cached encoder states, without the item encoder's part.",
    )
    promote: bool = Field(True, description="Make it champion when it passes the quality gate.")
    priority: Literal["low", "normal", "high"] = Field(
        "normal", description="Among the tenant's own jobs; tenants take turns whatever it is."
    )
    as_challenger: Plan | None = Field(
        None, description="Where `promote` holds: make it challenger instead, tried in this way."
    )

    def config(self) -> dict[str, Any]:
        """What the worker reads."""
        config = {
            "adapter": self.adapter.model_dump(exclude_none=True),
            "fit": self.fit.model_dump(exclude_none=True),
            "warmup_epochs": self.warmup_epochs,
            "promote": self.promote,
        }
        return config | ({"as_challenger": self.as_challenger.model_dump()} if self.as_challenger else {})


def _priority_name(priority: object) -> object:
    return Priority(priority).name.lower() if isinstance(priority, int) else priority


PriorityName = Annotated[str, BeforeValidator(_priority_name), Field(examples=["normal"])]


class JobOut(Answer):
    """A training job."""

    id: str
    state: str
    config: dict[str, Any]
    progress: dict[str, Any]
    result: dict[str, Any]
    error: str | None
    priority: PriorityName
    attempts: int = Field(description="How many times a worker took it on.")
    failures: int = Field(description="How many times it failed unexpectedly; it is tried again three times.")
    not_before: datetime | None = Field(description="When it is tried again after a failure.")
    cancel_requested: bool
    adapter_version: int | None
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    created_by: str


class KnobOut(Answer):
    """A knob of a method; its type and range are as in a JSON schema."""

    name: str = Field(examples=["bottleneck"])
    summary: str
    type: Literal["integer", "boolean", "string"]
    default: int | bool | str | None = Field(description="null: as many as there are.", examples=[64])
    choices: list[str] | None = None
    minimum: int | None = None
    maximum: int | None = None


class MethodOut(Answer):
    """A method of training. Without `trainable` parameters it does not fit this channel's backbone."""

    name: str = Field(examples=["houlsby"])
    summary: str
    modality: Modality | None = Field(description="The only one it is for; null: any.")
    trainable: int | None = Field(description="Parameters at the default knobs.", examples=[2426816])
    share: float | None = Field(description="These by all of the backbone's.", examples=[0.022256])
    knobs: list[KnobOut]


class WorkerOut(Answer):
    """A training worker as it last said of itself."""

    name: str = Field(examples=["host:4711:a1b2c3"])
    device: str = Field(examples=["cuda"])
    job_id: str | None = Field(description="What it works on.")
    started_at: datetime
    seen_at: datetime
    alive: bool = Field(description="False once it has said nothing for 20 seconds.")
