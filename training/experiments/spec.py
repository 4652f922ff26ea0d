"""One run of an experiment, as data: equal specs are one run, whichever tables ask for it."""

import hashlib
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

Modality = Literal["text", "image"]
Objective = Literal["sasrec", "cpc"]
OptionValue = bool | int | float | str  # of one knob of `AdapterConfig`

FORMAT = 1  # raise it when an equal spec comes to mean another run


class RunSpec(BaseModel):
    """Which backbone, which target, which method, which seed, at which scale.

    `source_share` is a share of the sources' users; 0 is the paper's NoPT: DTL and user encoder untrained.
    `method` is one of `AdapterConfig` with `options` for its knobs, or `idrec`, which has no source.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    modality: Modality
    encoder: str = Field(description="where the item encoder comes from; empty for idrec")
    sources: tuple[str, ...]
    source_share: float = Field(1.0, ge=0, le=1)
    target: str
    target_share: float = Field(1.0, gt=0, le=1)
    objective: Objective
    method: str
    options: dict[str, OptionValue] = Field(default_factory=dict)
    learning_rate: float = Field(gt=0)
    seed: int = Field(0, ge=0)
    scale: str

    @property
    def key(self) -> str:
        """16 hexadecimal digits that name this run on any machine."""
        canonical = self.model_copy(update={"options": dict(sorted(self.options.items()))})
        return hashlib.sha256(f"{FORMAT}{canonical.model_dump_json()}".encode()).hexdigest()[:16]

    @property
    def title(self) -> str:
        """For people: `houlsby (placement=parallel) sasrec text -> pastry, seed 0`."""
        knobs = ", ".join(f"{k}={v}" for k, v in sorted(self.options.items()))
        shares = "".join(
            f", {share:.0%} of {whose}"
            for share, whose in ((self.source_share, "sources"), (self.target_share, "target"))
            if share < 1 and not (whose == "sources" and self.method == "idrec")
        )
        method = f"{self.method} ({knobs})" if knobs else self.method
        rate = f"{self.learning_rate:g}"
        return (
            f"{method} {self.objective} {self.modality} -> {self.target}{shares}, lr {rate}, seed {self.seed}"
        )
