"""A training job as its pages show it: where it stands, how fast it goes, what it came to."""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from app.model.methods import COMMON, METHODS, AdapterConfig

STATES = {
    "PENDING": ("waiting", ""),
    "RUNNING": ("running", "challenger"),
    "SUCCEEDED": ("succeeded", "good"),
    "REJECTED": ("rejected", "warn"),
    "FAILED": ("failed", "bad"),
    "CANCELLED": ("cancelled", ""),
}
MINUTE, HOUR = 60, 3600


def knobs(config: dict[str, Any]) -> str:
    """An adapter's sizes, and what else of it is not the method's default, in a few words."""
    spec = METHODS.get(config["method"])
    usual = {**(spec.knobs if spec else {}), **{k: AdapterConfig.model_fields[k].default for k in COMMON}}
    words = [
        f"no {name}" if value is False else name if value is True else f"{name} {value}"
        for name, value in config.items()
        if name != "method" and (type(value) is int or value != usual.get(name))
    ]
    return ", ".join(words).replace("_", " ")


def duration(seconds: float | None) -> str:
    """95.2 -> 1 min 35 s."""
    if seconds is None:
        return "–"
    whole = max(0, round(seconds))
    if whole >= HOUR:
        return f"{whole // HOUR} h {whole % HOUR // MINUTE} min"
    return f"{whole // MINUTE} min {whole % MINUTE} s" if whole >= MINUTE else f"{whole} s"


@dataclass(frozen=True)
class JobView:
    """A job of the API, with what its pages ask of it."""

    job: dict[str, Any]

    @property
    def open(self) -> bool:
        """Whether it waits or runs."""
        return self.job["finished_at"] is None

    @property
    def word(self) -> str:
        """Its state."""
        return "stopping" if self.open and self.job["cancel_requested"] else STATES[self.job["state"]][0]

    @property
    def kind(self) -> str:
        """The colour of its badge."""
        return STATES[self.job["state"]][1]

    @property
    def adapter(self) -> dict[str, Any]:
        """What is trained."""
        found: dict[str, Any] = self.job["config"]["adapter"]
        return found

    @property
    def knobs(self) -> str:
        """Its knobs in a few words."""
        return knobs(self.adapter)

    @property
    def progress(self) -> dict[str, Any]:
        """As the worker last told it."""
        found: dict[str, Any] = self.job["progress"]
        return found

    @property
    def curve(self) -> list[dict[str, float]]:
        """Loss and validation figures by epoch."""
        found: list[dict[str, float]] = self.job["result"].get("curve") or self.progress.get("curve") or []
        return found

    @property
    def epochs(self) -> list[int]:
        """The curve's epochs, from 1."""
        return [int(point["epoch"]) + 1 for point in self.curve]

    @property
    def phase(self) -> str:
        """What the worker does now."""
        if self.job["state"] == "PENDING":
            return "waiting for a worker"
        return "encoding items" if self._encodes else str(self.progress.get("phase", "starting"))

    @property
    def trains(self) -> bool:
        """Whether it goes through epochs now."""
        return self.phase in ("warming up", "training") and "epoch" in self.progress

    @property
    def fraction(self) -> float | None:
        """How much of the phase is done, from 0 to 1; None where that cannot be said."""
        p = self.progress
        if self._encodes:
            return float(p["encoded"] / p["to_encode"])
        return self._steps / (p["max_epochs"] * p["steps"]) if self.trains else None

    @property
    def rate(self) -> str:
        """How fast it goes."""
        p = self.progress
        if self._encodes:
            return f"{p['items_per_second']:,.0f} items/s" if p.get("items_per_second") else "–"
        if not self.trains or not p["seconds"]:
            return "–"
        users = p.get("users", 0) / p["steps"] * self._steps / p["seconds"]
        return f"{users:,.0f} users/s"

    @property
    def left(self) -> str:
        """How long the phase takes at most; early stopping may end it sooner."""
        p = self.progress
        if self._encodes:
            rate = p.get("items_per_second")
            return duration((p["to_encode"] - p["encoded"]) / rate) if rate else "–"
        return f"at most {duration(p['at_most_seconds_left'])}" if self.trains else "–"

    @property
    def took(self) -> str:
        """From its start to its end, or until now."""
        if not self.job["started_at"]:
            return "–"
        end = datetime.fromisoformat(self.job["finished_at"]) if not self.open else datetime.now(UTC)
        return duration((end - datetime.fromisoformat(self.job["started_at"])).total_seconds())

    @property
    def now(self) -> str:
        """One line of where it stands."""
        if not self.open:
            return ""
        p = self.progress
        epoch = f", epoch {p['epoch']} of {p['max_epochs']}" if self.trains else ""
        return f"{self.phase}{epoch}"

    @property
    def hr10(self) -> float | None:
        """On the test split."""
        found: float | None = self.job["result"].get("test", {}).get("adapter", {}).get("hr10")
        return found

    @property
    def popularity(self) -> float | None:
        """Popularity's HR@10 on the test split."""
        found: float | None = self.job["result"].get("test", {}).get("popularity", {}).get("hr10")
        return found

    @property
    def outcome(self) -> str:
        """What became of it, or what will."""
        config, version = self.job["config"], self.job["adapter_version"]
        to = "challenger" if config.get("as_challenger") else "champion"
        if self.open:
            return f"becomes {to} if it passes" if config["promote"] else "is kept as a version"
        if self.job["state"] == "SUCCEEDED" and config["promote"]:
            return f"version {version}, made {to}"
        return f"version {version}, kept" if version else ""

    @property
    def remedy(self) -> str:
        """What to do after a failure, where its own words do not say it."""
        if self.job["failures"] and self.job["not_before"] and self.open:
            return "It is tried again by itself, from its last checkpoint."
        if self.job["state"] == "FAILED":
            return "Mend what the message names, then start a new job."
        return ""

    @property
    def _encodes(self) -> bool:
        p = self.progress
        return self.open and p.get("encoded", 0) < p.get("to_encode", 0)

    @property
    def _steps(self) -> float:
        p = self.progress
        return float((p["epoch"] - 1) * p["steps"] + p["step"])
