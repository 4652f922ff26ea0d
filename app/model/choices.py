"""What a channel can be trained by: the methods and their knobs, for a form or a client to offer."""

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from app.core.errors import Invalid
from app.core.names import Modality
from app.model.adapters import check_fits, part, shapes, sites
from app.model.methods import COMMON, METHODS, RECOMMENDED, AdapterConfig
from app.model.transrec import TransRec


@dataclass(frozen=True)
class Knob:
    """One knob of a method; `type`, `choices`, `minimum` and `maximum` as in a JSON schema."""

    name: str
    summary: str
    type: str
    default: Any
    choices: tuple[str, ...] | None
    minimum: int | None
    maximum: int | None


@dataclass(frozen=True)
class Choice:
    """A method; without `trainable` parameters (at the default knobs) where it does not fit the backbone."""

    name: str
    summary: str
    modality: Modality | None
    trainable: int | None
    share: float | None
    knobs: tuple[Knob, ...]


@lru_cache(maxsize=4)
def choices(model: TransRec) -> tuple[Choice, ...]:
    """Every method, with what it trains of this backbone."""
    return tuple(_choice(model, name) for name in METHODS)


@lru_cache(maxsize=256)
def trainable(model: TransRec, config: AdapterConfig) -> int:
    """How many parameters such an adapter has; raises `Invalid` where it does not fit."""
    return sum(shape.numel() for shape in shapes(model, config).values())


def _choice(model: TransRec, name: str) -> Choice:
    spec, config = METHODS[name], AdapterConfig.model_validate({"method": name})
    whole = sum(getattr(site.module, site.attribute).numel() for site in sites(model))
    try:
        check_fits(config, model)
        count = trainable(model, config)
    except Invalid:
        count = None
    knobs = [_knob(model, k, default) for k, default in spec.knobs.items() if k not in spec.fixed]
    share = None if count is None else round(count / whole, 6)
    usual = RECOMMENDED if name == RECOMMENDED.method else config
    common = [_knob(model, k, getattr(usual, k)) for k in COMMON]
    return Choice(name, spec.summary, spec.modality, count, share, (*knobs, *common))


def _knob(model: TransRec, name: str, default: Any) -> Knob:
    described = AdapterConfig.model_json_schema()["properties"][name]
    schema = next(iter(described.get("anyOf", ())), described)  # the other one is null: left out
    options = tuple(schema["enum"]) if "enum" in schema else None
    if name == "placement" and part(model, "item").family.modality != "text":
        options = tuple(option for option in options or () if option != "after_norm")
    most = len(part(model, "item").layers) if name == "top_layers" else schema.get("maximum")
    kind = schema.get("type", "string")
    return Knob(name, described["description"], kind, default, options, schema.get("minimum"), most)
