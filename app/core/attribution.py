"""Ids of recommendations: each says which version gave it as what, so that a click needs no look-up.

    rec_019a8d3f5c10 8f1c2a9b04e7d6a1 h 3      (without the spaces)
        milliseconds random           | version
                                      variant: c champion, h challenger

Nobody signs them: who may send events of a channel may send any, and an id counts in that channel only.
"""

import re
from dataclasses import dataclass
from typing import Literal

from app.core.ids import new_id

Variant = Literal["champion", "challenger"]
_LETTERS: dict[Variant, str] = {"champion": "c", "challenger": "h"}
_VARIANTS: dict[str, Variant] = {letter: variant for variant, letter in _LETTERS.items()}
_ID = re.compile(r"rec_([0-9a-f]{12})[0-9a-f]{16}([ch])([0-9]{1,10})", re.ASCII)


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a recommendation comes from; `at` is in milliseconds since 1970."""

    at: int
    variant: Variant
    version: int


def new_recommendation_id(variant: Variant, version: int) -> str:
    """Return the id of a recommendation that `version` gives now."""
    return f"{new_id('rec')}{_LETTERS[variant]}{version}"


def origin_of(recommendation_id: str) -> Origin | None:
    """Read an id; None for what is none."""
    found = _ID.fullmatch(recommendation_id)
    if found is None:
        return None
    version = int(found[3])
    return Origin(int(found[1], 16), _VARIANTS[found[2]], version) if version < 2**31 else None
