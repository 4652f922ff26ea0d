"""Which runs each table and figure of the paper needs, and where each of them stands in it."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from typing import get_args

from training.experiments.rates import ROBUSTNESS
from training.experiments.scales import Scale
from training.experiments.spec import Modality, Objective, RunSpec
from training.experiments.study import Point, Study, Transfer, Variant

OBJECTIVES = get_args(Objective)


FTA, ADAT, IDREC = Variant("FTA", "fta"), Variant("AdaT", "houlsby"), Variant("IDRec", "idrec")
METHODS = (
    FTA,
    Variant("Houlsby", "houlsby"),
    Variant("Pfeiffer", "pfeiffer"),
    Variant("Compacter", "compacter"),
    Variant("K-Adapter", "k_adapter"),
    Variant("Prompt tuning", "prompt"),  # VPT on images
    Variant("LN-tuning", "layer_norm"),
)
ENCODERS = (
    Variant("Adapter", "houlsby", {"tune_layer_norm": False}),
    Variant("Adapter Ei", "houlsby", {"tune_layer_norm": False, "encoders": "item"}),
    Variant("Adapter Eu", "houlsby", {"tune_layer_norm": False, "encoders": "user"}),
)
POSITIONS = (
    Variant("MHA+FFN (Houlsby)", "houlsby"),
    Variant("MHA (Pfeiffer)", "pfeiffer"),
    Variant("FFN", "ffn"),
    Variant("MHA++", "mha++"),
    Variant("FFN++", "ffn++"),
)
INSERTIONS = (
    Variant("Serial w/ LN", "houlsby"),
    Variant("Serial w/o LN", "houlsby", {"tune_layer_norm": False}),
    Variant("Parallel w/ LN", "houlsby", {"placement": "parallel"}),
    Variant("Parallel w/o LN", "houlsby", {"placement": "parallel", "tune_layer_norm": False}),
)


def runs(points: Iterable[Point]) -> list[RunSpec]:
    """The distinct runs behind the points; runs that share a backbone and a target come together."""
    distinct = {point.spec.key: point.spec for point in points}
    order = {m: i for i, m in enumerate(get_args(Modality))}
    return sorted(
        distinct.values(),
        key=lambda s: (s.seed, order[s.modality], s.objective, s.sources, -s.source_share, s.target),
    )


def _table(variants: tuple[Variant, ...], objectives: tuple[Objective, ...], study: Study) -> list[Point]:
    return [
        Point(architecture(objective, transfer.modality), variant.label, spec)
        for transfer in study.transfers
        for objective in objectives
        for variant in variants
        for spec in _specs(study, transfer, variant, objective)
    ]


def _figure3(study: Study) -> list[Point]:
    points = []
    for t in study.transfers:
        for target in t.targets if len(t.targets) > 1 else ():
            points += _line(study, t, f"a: targets ({t.modality})", target, (FTA, ADAT), target=target)
        for rate in ROBUSTNESS:
            points += _line(
                study, t, f"b: learning rate ({t.modality})", f"{rate:g}", (FTA, ADAT), learning_rate=rate
            )
        for variant, x in _sizes(study.scale, t.layers):
            points += _line(study, t, f"c: trainable parameters ({t.modality})", x, (variant,))
    return points


def _sizes(scale: Scale, layers: int) -> Iterator[tuple[Variant, str]]:
    """Figure 3c: both methods in the item encoder only, from few to many parameters."""
    for n in range(1, min(layers, scale.grid.most_layers) + 1):
        yield Variant("FTN", "ftn", {"top_layers": n}), f"top {n}"
    for k in scale.grid.bottlenecks:
        yield Variant("AdaT", "houlsby", {"encoders": "item", "bottleneck": k}), f"k = {k}"


def _figure6(study: Study) -> list[Point]:
    points, grid = [], study.scale.grid
    for t in study.transfers:
        for share in grid.source_shares:
            x = f"{share:.0%}" if share else "NoPT"
            points += _line(study, t, f"source scaling ({t.modality})", x, (FTA, ADAT), source_share=share)
        for share in grid.target_shares:
            panel, series = f"target scaling ({t.modality})", (FTA, ADAT, IDREC)
            points += _line(study, t, panel, f"{share:.0%}", series, target_share=share)
    return points


def _line(
    study: Study, transfer: Transfer, panel: str, x: str, variants: tuple[Variant, ...], **changes: object
) -> list[Point]:
    """One x of a figure, SASRec as in the paper."""
    return [
        Point(panel, variant.label, spec, x)
        for variant in variants
        for spec in _specs(study, transfer, variant, "sasrec", **changes)
    ]


def _specs(
    study: Study, transfer: Transfer, variant: Variant, objective: Objective, **changes: object
) -> list[RunSpec]:
    """One run a seed."""
    method = "vpt" if (variant.method, transfer.modality) == ("prompt", "image") else variant.method
    fields: dict[str, object] = {
        "modality": transfer.modality,
        "encoder": transfer.encoder,
        "sources": transfer.sources,
        "target": transfer.targets[0],
        "objective": objective,
        "method": method,
        "options": dict(variant.options),
        "learning_rate": study.rates[transfer.modality][method],
        "scale": study.scale.name,
    } | changes
    if method == "idrec":  # knows neither contents nor sources: the same run whatever they are
        fields |= {"encoder": "", "sources": ()}
    return [RunSpec.model_validate(fields | {"seed": seed}) for seed in study.seeds]


def architecture(objective: Objective, modality: Modality) -> str:
    """`SASRec text`: what the paper calls SASRec+BERT."""
    return f"{'SASRec' if objective == 'sasrec' else 'CPC'} {modality}"


EXPERIMENTS: Mapping[str, Callable[[Study], list[Point]]] = {
    "table2": partial(_table, (FTA, ADAT), OBJECTIVES),
    "table3": partial(_table, METHODS, OBJECTIVES),
    "table4": partial(_table, ENCODERS, OBJECTIVES),
    "table5": partial(_table, POSITIONS, ("sasrec",)),
    "table6": partial(_table, INSERTIONS, OBJECTIVES),
    "figure3": _figure3,
    "figure6": _figure6,
}
