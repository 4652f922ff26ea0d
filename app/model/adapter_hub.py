"""AdapterHub's words for what is also ours: the options and module paths of its `adapters` library.

With x a sublayer's input, y its output before the residual add, f the bottleneck and LN the encoder's own
LayerNorm, both compute

    serial       LN(y + f(y) + x)            the library's double_seq_bn (Houlsby) and compacter
    parallel     LN(y + f(x) + x)            its par_bn, where scaling is 1
    after_norm   LN(y + f(LN(y + x)) + x)    its seq_bn (Pfeiffer)

Read off adapters 1.3.0; the checkpoints in tests/fixtures/adapter_hub hold us to it.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from app.core.errors import Invalid
from app.model.methods import AdapterConfig, Placement

COMMON_GROUND = (
    "Both sides have, in every layer of a BERT or RoBERTa: bottlenecks with ReLU (double_seq_bn"
    "[non_linearity='relu'], seq_bn, par_bn[scaling=1.0]; behind attention, the FFN or both), and compacter."
)
MODEL_TYPES = {"bert": "bert.", "roberta": "roberta."}
"""Encoders whose modules have these paths -> what stands before a path in a model with heads."""

# The library's options with its defaults: what is computed, ...
_COMPUTATION: dict[str, Any] = {
    "mh_adapter": True,
    "output_adapter": True,
    "non_linearity": "relu",
    "phm_layer": False,
    "original_ln_before": False,
    "original_ln_after": True,
    "residual_before_ln": True,
    "adapter_residual_before_ln": False,
    "ln_before": False,
    "ln_after": False,
    "is_parallel": False,
    "scaling": 1.0,
    "use_gating": False,
    "inv_adapter": None,
    "cross_adapter": False,
    "leave_out": [],
}
# ... what a hypercomplex layer is made of, ...
_HYPERCOMPLEX: dict[str, Any] = {
    "phm_dim": 4,
    "phm_rank": 1,
    "phm_bias": True,
    "shared_phm_rule": True,
    "factorized_phm_rule": False,
    "shared_W_phm": False,
    "factorized_phm_W": True,
}
# ... and what the weights' shapes say as well, or matters in training alone.
_FREE: dict[str, Any] = {
    "reduction_factor": 16,
    "dropout": 0.0,
    "stochastic_depth": 0.0,
    "init_weights": "bert",
    "init_weights_seed": None,
    "inv_adapter_reduction_factor": None,
    "learn_phm": True,
    "phm_c_init": "normal",
    "phm_init_range": 0.0001,
    "hypercomplex_nonlinearity": "glorot-uniform",
}
_DEFAULTS = _COMPUTATION | _HYPERCOMPLEX | _FREE
_PLACEMENTS: dict[Placement, dict[str, Any]] = {
    "serial": {},
    "parallel": {"is_parallel": True},
    "after_norm": {"original_ln_before": True},
}
# A checkpoint holds the adapters of one encoder and nothing else.
_ALONE: dict[str, Any] = {
    "encoders": "item",
    "top_layers": None,
    "tune_layer_norm": False,
    "tune_dtl": False,
    "popularity_prior": False,
    "item_residual": False,
}
_PATHS = {"mha": "attention.output", "ffn": "output", "down": "adapter_down.0", "up": "adapter_up"}
_LINEAR = {"weight": "weight", "bias": "bias"}
_PHM = {"left": "W_left", "right": "W_right", "bias": "b"}


@dataclass(frozen=True)
class Layout:
    """One of our methods, and the options with which the library computes the same."""

    method: str
    placement: Placement | None  # None: the method has no such knob
    sublayers: tuple[str, ...]
    options: dict[str, Any]

    def all_options(self, width: int, bottleneck: int) -> dict[str, Any]:
        """All that the library wants to know of an adapter of these sizes, D and k."""
        # It takes floor(D / factor) for k; where k does not divide D, aim between k and k + 1.
        factor = width / (bottleneck + 0.5) if width % bottleneck else width // bottleneck
        return _DEFAULTS | self.options | {"reduction_factor": factor}

    def names(self, layers: int, adapter: str, prefix: str) -> dict[str, str]:
        """Site -> the library's name of each tensor of the adapter so named; `prefix` of `MODEL_TYPES`."""
        tensors = _PHM if self.options["phm_layer"] else _LINEAR
        found = {}
        for i in range(layers):
            for sublayer in self.sublayers:
                path = f"{prefix}encoder.layer.{i}.{_PATHS[sublayer]}.adapters.{adapter}"
                for half in ("down", "up"):
                    for ours, theirs in tensors.items():
                        found[f"item/L{i:02d}/{sublayer}/{half}.{ours}"] = f"{path}.{_PATHS[half]}.{theirs}"
        if self.options["phm_layer"]:
            found["phm/rule"] = f"{prefix}shared_parameters.{adapter}.phm_rule"
        return found


def _bottlenecks(method: str, *sublayers: str) -> list[Layout]:
    where = {"mh_adapter": "mha" in sublayers, "output_adapter": "ffn" in sublayers}
    return [Layout(method, p, sublayers, _COMPUTATION | where | how) for p, how in _PLACEMENTS.items()]


# The library's "gelu" is the exact one, by erf; its "gelu_new" is the tanh approximation.
_COMPACTER = _COMPUTATION | _HYPERCOMPLEX | {"phm_layer": True, "non_linearity": "gelu"}
LAYOUTS = [
    *_bottlenecks("houlsby", "mha", "ffn"),
    *_bottlenecks("pfeiffer", "mha"),
    *_bottlenecks("ffn", "ffn"),
    Layout("compacter", None, ("mha", "ffn"), _COMPACTER),
]


def layout_of_options(options: Mapping[str, Any]) -> Layout:
    """The layout that computes what these options say; raises `Invalid` naming an option that none has so."""
    unknown = sorted(options.keys() - _DEFAULTS.keys(), key=lambda key: (key != "architecture", key))
    if unknown:
        has = f"{unknown[0]}={options[unknown[0]]!r}"[:100]
        raise Invalid(f"The checkpoint has {has}, which is no option of a bottleneck. {COMMON_GROUND}")
    given = {**_DEFAULTS, **options}
    differences = [[k for k, v in layout.options.items() if given[k] != v] for layout in LAYOUTS]
    wrong, layout = min(zip(differences, LAYOUTS, strict=True), key=lambda pair: len(pair[0]))
    if wrong:
        has, needed = f"{wrong[0]}={given[wrong[0]]!r}"[:100], layout.options[wrong[0]]
        raise Invalid(f"The checkpoint has {has}; for our {layout.method} it is {needed!r}. {COMMON_GROUND}")
    return layout


def layout_of_config(config: AdapterConfig) -> Layout:
    """The layout of one of our configs; raises `Invalid` naming what AdapterHub has no place for."""
    for key, needed in _ALONE.items():
        if (has := getattr(config, key)) != needed:
            all_needed = ", ".join(f"{k}={json.dumps(v)}" for k, v in _ALONE.items())
            raise Invalid(f"AdapterHub has no place for {key}={json.dumps(has)}. Train with {all_needed}.")
    for layout in LAYOUTS:
        if (layout.method, layout.placement) == (config.method, config.placement):
            return layout
    known = ", ".join(dict.fromkeys(layout.method for layout in LAYOUTS))
    raise Invalid(f"AdapterHub has no adapter like our {config.method}. These can be exported: {known}.")


def config_of(layout: Layout, bottleneck: int) -> AdapterConfig:
    """Our config of such an adapter of width k; raises `Invalid` where we have none of that width."""
    made = {"method": layout.method, "placement": layout.placement, "bottleneck": bottleneck, **_ALONE}
    try:
        return AdapterConfig.model_validate(made)
    except ValidationError as error:
        why = error.errors()[0]["msg"]
        raise Invalid(f"A bottleneck of {bottleneck} does not exist here: {why}. Train another.") from error
