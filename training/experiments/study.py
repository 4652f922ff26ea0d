"""The words that a plan is written in: transfers, variants, points."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from training.experiments.rates import RATES, Rates
from training.experiments.scales import Scale
from training.experiments.spec import Modality, OptionValue, RunSpec


@dataclass(frozen=True)
class Transfer:
    """From the sources of one modality to its targets; tables use the first target."""

    modality: Modality
    encoder: str
    layers: int  # of the item encoder
    sources: tuple[str, ...]
    targets: tuple[str, ...]


@dataclass(frozen=True)
class Study:
    """What the caller chose: data, scale, seeds, learning rates."""

    transfers: tuple[Transfer, ...]
    scale: Scale
    seeds: tuple[int, ...]
    rates: Rates = field(default_factory=lambda: RATES)


@dataclass(frozen=True)
class Variant:
    """A column of a table or a line of a figure: the paper's name for it, our method and knobs."""

    label: str
    method: str
    options: Mapping[str, OptionValue] = field(default_factory=dict)


@dataclass(frozen=True)
class Point:
    """One run's place: panel (an architecture, or a part of a figure), series, and x within a figure."""

    panel: str
    series: str
    spec: RunSpec
    x: str = ""
