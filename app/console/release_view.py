"""Releases, moves and a trial as their pages show them."""

import math
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from app.console.job_view import knobs

Figures = dict[str, Any]
ACTIONS = {
    "promote": "promoted",
    "rollback": "rolled back",
    "challenge": "trial begun",
    "change": "trial changed",
    "withdraw": "trial ended",
}


@dataclass(frozen=True)
class ReleaseView:
    """A version of the API, with what its pages ask of it."""

    release: dict[str, Any]

    @property
    def number(self) -> int:
        """The version."""
        return int(self.release["version"])

    @property
    def is_champion(self) -> bool:
        """Whether it answers."""
        return bool(self.release["champion"])

    @property
    def usable(self) -> bool:
        """Whether it can be promoted or tried."""
        return bool(self.release["fits"]) and not self.is_champion

    @property
    def knobs(self) -> str:
        """Its knobs in a few words."""
        return knobs({"method": self.release["method"], **self.release["config"]})

    def measured(self, split: str, name: str = "adapter") -> Figures:
        """The figures of the job that made it; empty where there is none."""
        found: Figures = self.release["metrics"].get(split, {}).get(name, {})
        return found

    @property
    def lift(self) -> float | None:
        """HR@10 by popularity's, on the test split."""
        own, other = self.measured("test").get("hr10"), self.measured("test", "popularity").get("hr10")
        return own / other if own is not None and other else None


@dataclass(frozen=True)
class Moves:
    """The history, newest first."""

    oldest_first: list[dict[str, Any]]

    @property
    def newest_first(self) -> list[dict[str, Any]]:
        """For the table."""
        return [move | {"words": ACTIONS.get(move["action"], move["action"])} for move in self._reversed]

    @property
    def last(self) -> dict[str, Any] | None:
        """The move that made the champion what it is."""
        return next((move for move in self._reversed if move["alias"] == "champion"), None)

    @property
    def guarded_until(self) -> str | None:
        """Until when the champion is watched by a rule, if it still is."""
        guard = self.last and self.last["detail"].get("guard")
        if not self.last or not guard:
            return None
        end = datetime.fromisoformat(self.last["at"]) + timedelta(hours=guard["hours"])
        return end.isoformat() if end > datetime.now(UTC) else None

    @property
    def _reversed(self) -> list[dict[str, Any]]:
        return self.oldest_first[::-1]


@dataclass(frozen=True)
class RolloutView:
    """The trial of a challenger."""

    rollout: dict[str, Any]

    @property
    def percent(self) -> float:
        """Its share of the users, in percent."""
        return float(round(100 * self.rollout["share"], 2))

    @property
    def difference(self) -> tuple[float, float] | None:
        """The challenger's click-through rate less the champion's, and its standard error."""
        online = self.rollout["online"]
        return difference(
            online["challenger"]["ctr"],
            online["challenger"]["standard_error"],
            online["champion"]["ctr"],
            online["champion"]["standard_error"],
        )


def difference(
    a: float | None, a_error: float | None, b: float | None, b_error: float | None
) -> tuple[float, float] | None:
    """a - b with its standard error, as of two samples of their own."""
    if a is None or b is None:
        return None
    return a - b, math.hypot(a_error or 0, b_error or 0)
