"""The form that starts a training job: its fields, the API's body that it makes, and errors beside fields."""

import re
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from app.console.gateway import ApiProblem
from app.model.methods import RECOMMENDED

DEFAULT_METHOD = RECOMMENDED.method


@dataclass(frozen=True)
class Field:
    """A field of what training takes; `default` is the worker's own and shown where nothing is typed."""

    name: str
    label: str
    hint: str
    default: Any = ""
    choices: tuple[str, ...] = ()
    step: str = "1"


# The defaults are those of training.fit, which no server process imports; a test holds them to it.
MORE = (
    Field("fit.max_epochs", "Epochs at most", "It stops before when validation no longer gets better.", 20),
    Field("fit.patience", "Patience", "Epochs without a better result before it stops.", 3),
    Field("fit.learning_rate", "Learning rate", "Empty: the method's own.", "the method's own", step="any"),
    Field("fit.batch_users", "Batch", "Users a step; left empty, by how many the channel has.", 32),
    Field("fit.max_seconds", "Seconds at most", "Then the best epoch is kept.", 3600, step="any"),
    Field("fit.seed", "Seed", "The same seed and data give the same adapter.", 0),
    Field(
        "fit.objective", "Objective", "in_batch: softmax over a step's items.", "in_batch",
        ("in_batch", "sasrec", "cpc"),
    ),
    Field("warmup_epochs", "Warm-up epochs", "First, cheap ones without the item encoder's part.", 10),
    Field(
        "priority", "Priority", "Among this tenant's own jobs.", "normal", ("low", "normal", "high"),
    ),
)  # fmt: skip


def body_of(form: Mapping[str, str]) -> dict[str, Any]:
    """The body of a new job; what is left empty is left out, and wrong values are the API's to refuse."""
    body: dict[str, Any] = {"adapter": {"method": form.get("method", DEFAULT_METHOD)}, "fit": {}}
    for name, value in form.items():
        group, _, knob = name.rpartition(".")
        if value and group in ("adapter", "fit"):
            body[group][knob] = value
        elif value and name in ("warmup_epochs", "priority"):
            body[name] = value
    outcome = form.get("outcome", "champion")
    body["promote"] = outcome != "version"
    if outcome == "challenger":
        body["as_challenger"] = {"share": share_of(form.get("share", ""))}
    return body


def share_of(percent: str) -> Any:
    """'5' -> 0.05; what is no number stays as it is, for the API to refuse."""
    with suppress(ValueError):
        return float(percent) / 100
    return percent


def errors_of(problem: ApiProblem, knobs: Iterable[str]) -> dict[str, str]:
    """The API's messages by the form's fields; under "" what belongs to none of them."""
    found = problem.problem.get("errors") or [{"field": "", "message": problem.detail}]
    placed: dict[str, str] = {}
    for error in found:
        message = str(error["message"]).removeprefix("Value error, ")
        place = _place(str(error["field"]).removeprefix("body.").removeprefix("body"), message, list(knobs))
        placed[place] = f"{placed[place]} {message}" if place in placed else message
    return placed


def _place(field: str, message: str, knobs: list[str]) -> str:
    if field.startswith("as_challenger"):
        return "share"
    if field in ("", "adapter"):  # of several fields: at the first that the message names
        named = [knob for knob in knobs if re.search(rf"\b{knob}s?\b", message)]
        return f"adapter.{named[0]}" if named else ""
    known = {each.name for each in MORE} | {f"adapter.{knob}" for knob in knobs}
    return field if field in known else ""
