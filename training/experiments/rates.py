"""Learning rates by modality and method: the one table that a search changes."""

from collections.abc import Mapping, Sequence

from app.core.errors import Invalid
from app.model.methods import METHODS
from training.experiments.spec import Modality
from training.finetune import METHOD_RATES

Rates = Mapping[Modality, Mapping[str, float]]

# Adapters on small encoders take 1e-3 well; the paper's own rates for bert-base and vit-base are lower.
COMMON = 1e-3
TEXT: Mapping[str, float] = {m: METHOD_RATES.get(m, COMMON) for m in ("idrec", *METHODS)}
RATES: Rates = {"text": TEXT, "image": TEXT}

ROBUSTNESS = (1e-5, 1e-4, 1e-3)  # figure 3b


def with_overrides(settings: Sequence[str], rates: Rates = RATES) -> Rates:
    """`houlsby=5e-4` (both modalities) or `image:houlsby=4e-4` over the table.

    Raises `Invalid` for an unknown method or modality and for a rate that is not above 0 and at most 1.
    """
    changed = {modality: dict(table) for modality, table in rates.items()}
    for setting in settings:
        where, _, value = setting.partition("=")
        scope, _, method = where.rpartition(":")
        modalities = [m for m in changed if scope in ("", m)]
        if not modalities or not all(method in changed[m] for m in modalities):
            raise Invalid(
                f"Unknown rate '{setting}'. Write method=rate or image:method=rate with a method of: "
                f"{', '.join(TEXT)}."
            )
        for modality in modalities:
            changed[modality][method] = _rate(setting, value)
    return changed


def _rate(setting: str, value: str) -> float:
    try:
        rate = float(value)
    except ValueError:
        rate = 0.0
    if not 0 < rate <= 1:
        raise Invalid(f"The rate in '{setting}' must be a number above 0 and at most 1, for example 1e-3.")
    return rate
