"""The methods of the paper and what each is made of: knobs, defaults, what fits which backbone.

A knob that does not apply to a method is None; giving one is an error that says what does apply.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, Self, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from app.core.errors import Invalid
from app.core.names import Modality

Method = Literal[
    "houlsby", "pfeiffer", "ffn", "mha++", "ffn++", "compacter", "k_adapter",
    "lora", "layer_norm", "prompt", "vpt", "side", "fta", "ftn",
]  # fmt: skip
Encoders = Literal["both", "item", "user"]
Position = Literal["both", "mha", "ffn"]
Placement = Literal["serial", "parallel", "after_norm"]


@dataclass(frozen=True)
class MethodSpec:
    """One method: `knobs` are those that apply, with their defaults; a fixed knob has one allowed value."""

    summary: str
    knobs: Mapping[str, Any]
    fixed: frozenset[str] = frozenset()
    modality: Modality | None = None  # None: any


def _bottlenecks(summary: str, position: Position, width: int, user_width: int) -> MethodSpec:
    knobs = {
        "encoders": "both",
        "position": position,
        "placement": "serial",
        "bottleneck": width,
        "user_bottleneck": user_width,
        "top_layers": None,
        "tune_layer_norm": True,
        "tune_dtl": True,
    }
    return MethodSpec(summary, knobs, fixed=frozenset({"position"}))


METHODS: dict[str, MethodSpec] = {
    "houlsby": _bottlenecks("bottlenecks after attention and after the FFN", "both", 64, 16),
    "pfeiffer": _bottlenecks("bottlenecks after attention", "mha", 64, 16),
    "ffn": _bottlenecks("bottlenecks after the FFN", "ffn", 64, 16),
    "mha++": _bottlenecks("pfeiffer at twice the width", "mha", 128, 32),
    "ffn++": _bottlenecks("ffn at twice the width", "ffn", 128, 32),
    "compacter": MethodSpec(
        "bottlenecks of low-rank hypercomplex products with one shared rule",
        {
            "encoders": "both",
            "position": "both",
            "bottleneck": 64,
            "user_bottleneck": 16,
            "top_layers": None,
            "tune_layer_norm": True,
            "tune_dtl": True,
        },
    ),
    "k_adapter": MethodSpec(
        "transformer blocks beside the first and the last layer, fused with the output",
        {
            "encoders": "both",
            "bottleneck": 384,
            "user_bottleneck": 16,
            "top_layers": None,
            "tune_layer_norm": False,
            "tune_dtl": True,
        },
    ),
    "lora": MethodSpec(
        "low-rank changes of the query and value projections",
        {"encoders": "both", "rank": 8, "top_layers": None, "tune_layer_norm": False, "tune_dtl": True},
    ),
    "layer_norm": MethodSpec(
        "every LayerNorm, nothing else", {"encoders": "both", "top_layers": None, "tune_dtl": True}
    ),
    "prompt": MethodSpec(
        "learned word embeddings before the text", {"tokens": 40, "tune_dtl": True}, modality="text"
    ),
    "vpt": MethodSpec(
        "learned tokens beside the patches", {"tokens": 10, "tune_dtl": True}, modality="image"
    ),
    "side": MethodSpec(
        "a network beside the frozen item encoder, over its layers' pooled states; user encoder as houlsby",
        {
            "position": "both",
            "placement": "serial",
            "bottleneck": 64,
            "user_bottleneck": 16,
            "tune_layer_norm": True,
            "tune_dtl": True,
        },
        fixed=frozenset({"position", "placement"}),
    ),
    "fta": MethodSpec("full fine-tuning: a copy of the whole model", {"top_layers": None}),
    "ftn": MethodSpec("the item encoder's top layers", {"top_layers": 1, "tune_dtl": True}),
}
assert set(METHODS) == set(get_args(Method))  # noqa: S101 - one list of names, checked at import


class AdapterConfig(BaseModel):
    """What an adapter is made of. What is left out takes the method's default."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    method: Method = Field("houlsby", description="; ".join(f"{k}: {v.summary}" for k, v in METHODS.items()))
    encoders: Encoders | None = Field(None, description="which encoders are adapted; the other stays frozen")
    position: Position | None = Field(None, description="after which sublayers the bottlenecks stand")
    placement: Placement | None = Field(
        None,
        description="what a bottleneck reads: the sublayer's output (serial), its input (parallel) or, in "
        "text encoders, the normalised sum of both (after_norm, AdapterHub's seq_bn)",
    )
    bottleneck: int | None = Field(None, ge=1, le=1024, description="width k inside the item encoder")
    user_bottleneck: int | None = Field(None, ge=1, le=256, description="width k_u inside the user encoder")
    tokens: int | None = Field(None, ge=1, le=200, description="learned tokens of prompt and vpt")
    rank: int | None = Field(None, ge=1, le=256, description="rank of lora")
    top_layers: int | None = Field(
        None, ge=1, description="adapt the item encoder's top layers only; left out: all of them"
    )
    tune_layer_norm: bool | None = Field(None, description="own copies of the adapted encoders' LayerNorms")
    tune_dtl: bool | None = Field(None, description="own copy of the DTL; the paper keeps it frozen")
    popularity_prior: bool = Field(
        True, description="one more number: score = user . item + prior * log(1 + interactions of the item)"
    )
    item_residual: bool = Field(
        False, description="a learned vector for each item trained on, added to what its content says"
    )

    @model_validator(mode="before")
    @classmethod
    def _fill_in(cls, given: Any) -> Any:
        """Refuse knobs that do not apply, fill in the method's defaults for the rest."""
        if not isinstance(given, Mapping):
            return given
        method = given.get("method", "houlsby")
        spec = METHODS.get(method) if isinstance(method, str) else None
        if spec is None:
            return given  # pydantic lists the methods
        asked = {k: v for k, v in given.items() if v is not None}
        for knob in asked.keys() & (cls.model_fields.keys() - {"method", *COMMON}):
            _check_knob(method, spec, knob, asked[knob])
        return {**spec.knobs, **asked}

    @model_validator(mode="after")
    def _possible(self) -> Self:
        if self.placement == "after_norm" and self.encoders != "item":
            raise ValueError("placement after_norm exists in text item encoders only: add encoders=item")
        widths = [k for k, e in ((self.bottleneck, "item"), (self.user_bottleneck, "user")) if self.adapts(e)]
        if self.method == "compacter" and any(k % PHM_DIM for k in widths if k):
            raise ValueError(f"compacter needs bottlenecks that {PHM_DIM} divides")
        for k in widths if self.method == "k_adapter" else ():
            if k and k % k_heads(k):
                raise ValueError(f"k_adapter needs even bottlenecks, above 95 multiples of 32; {k} is not")
        return self

    @property
    def sublayers(self) -> tuple[str, ...]:
        """Where in a layer the bottlenecks stand: of ("mha", "ffn")."""
        return {"both": ("mha", "ffn"), "mha": ("mha",), "ffn": ("ffn",), None: ()}[self.position]

    def adapts(self, encoder: str) -> bool:
        """Whether that encoder, `item` or `user`, is adapted; prompts and ftn are for items alone."""
        if self.method in ("prompt", "vpt", "ftn"):
            return encoder == "item"
        return self.encoders in (None, "both", encoder)


COMMON = ("popularity_prior", "item_residual")
"""Knobs of every method."""

PHM_DIM = 4
"""Compacter's hypercomplex dimension n, as in the paper."""


RECOMMENDED = AdapterConfig(method="side", item_residual=True)
"""What a training job makes that asks for nothing else: docs/benchmarks.md says why."""


def recommended() -> dict[str, Any]:
    """It as a body says it: what is not the method's default, to which knobs can be added."""
    return RECOMMENDED.model_dump(include={"method", "item_residual"})


def k_heads(bottleneck: int) -> int:
    """Attention heads inside a K-Adapter: 32 wide where there is room for three, else two."""
    return max(2, bottleneck // 32)


def published(method: str, **knobs: Any) -> AdapterConfig:
    """The method as the paper counts and trains it: DTL frozen (but for vpt), no popularity prior."""
    dtl = {"tune_dtl": method == "vpt"} if "tune_dtl" in METHODS[method].knobs else {}
    return AdapterConfig.model_validate({"method": method, "popularity_prior": False, **dtl, **knobs})


def asked_for(method: str, knobs: Mapping[str, Any], popularity_prior: bool = False) -> AdapterConfig:
    """The method as published but for the knobs that are not None; raises `Invalid` in one sentence."""
    asked = {name: value for name, value in knobs.items() if value is not None}
    try:
        if method not in METHODS:
            return AdapterConfig.model_validate({"method": method})  # pydantic names the methods there are
        return published(method, popularity_prior=popularity_prior, **asked)
    except ValidationError as error:
        wrong = "; ".join(
            ": ".join([*map(str, e["loc"]), e["msg"].removeprefix("Value error, ")]) for e in error.errors()
        )
        raise Invalid(f"The adapter cannot be made: {wrong}.") from error


def _check_knob(method: str, spec: MethodSpec, knob: str, value: Any) -> None:
    if knob in ("bottleneck", "user_bottleneck") and value == 0 and knob in spec.knobs:
        other = "user" if knob == "bottleneck" else "item"
        raise ValueError(f"{knob} is at least 1; to leave that encoder as it is, set encoders to {other}")
    if knob not in spec.knobs:
        others = ", ".join(name for name, other in METHODS.items() if knob in other.knobs)
        mine = ", ".join(spec.knobs) or "none"
        raise ValueError(
            f"{knob} does not apply to {method}, whose knobs are: {mine}. It goes with: {others}"
        )
    if knob in spec.fixed and value != spec.knobs[knob]:
        fitting = [name for name, other in METHODS.items() if other.knobs.get(knob) == value]
        for_that = f" For {value} use: {', '.join(fitting)}" if fitting else ""
        raise ValueError(f"{method} has {knob}={spec.knobs[knob]}.{for_that}")
