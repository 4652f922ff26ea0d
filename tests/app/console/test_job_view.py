"""What a job's page says, in states that a browser test does not meet."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from app.console.gateway import ApiProblem
from app.console.job_view import JobView, duration, knobs
from app.console.release_view import Moves
from app.console.training_form import body_of, errors_of

NOW = datetime.now(UTC)


def view(state: str, **more: Any) -> JobView:
    job = {
        "state": state,
        "config": {"adapter": {"method": "lora", "rank": 8}, "promote": True},
        "progress": {},
        "result": {},
        "error": None,
        "failures": 0,
        "not_before": None,
        "cancel_requested": False,
        "adapter_version": None,
        "started_at": None,
        "finished_at": None,
    }
    return JobView(job | more)


def test_a_job_that_waits() -> None:
    job = view("PENDING")
    assert (job.word, job.phase, job.rate, job.left, job.took) == (
        "waiting",
        "waiting for a worker",
        "–",
        "–",
        "–",
    )
    assert job.fraction is None
    retried = view("PENDING", failures=1, not_before=NOW.isoformat())
    assert "again by itself" in retried.remedy


def test_a_job_that_encodes() -> None:
    progress = {"phase": "training", "encoded": 250, "to_encode": 1000, "items_per_second": 25.0}
    job = view(
        "RUNNING", progress=progress, started_at=(datetime.now(UTC) - timedelta(seconds=95)).isoformat()
    )
    assert (job.phase, job.fraction, job.rate, job.left) == ("encoding items", 0.25, "25 items/s", "30 s")
    assert job.took == "1 min 35 s"


def test_a_job_that_trains() -> None:
    progress = {
        "phase": "training",
        "encoded": 24,
        "to_encode": 24,
        "users": 64,
        "epoch": 3,
        "max_epochs": 10,
        "step": 2,
        "steps": 4,
        "seconds": 5.0,
        "at_most_seconds_left": 15.0,
    }
    job = view("RUNNING", progress=progress, cancel_requested=True)
    assert (job.word, job.now) == ("stopping", "training, epoch 3 of 10")
    assert (job.fraction, job.rate, job.left) == (0.25, "32 users/s", "at most 15 s")


def test_a_job_that_failed_or_was_not_good_enough() -> None:
    ended = NOW.isoformat()
    failed = view("FAILED", error="Import interactions.", finished_at=ended)
    assert (failed.word, failed.kind, failed.open) == ("failed", "bad", False)
    assert "start a new job" in failed.remedy
    assert view("REJECTED", adapter_version=4, finished_at=ended).outcome == "version 4, kept"
    assert view("SUCCEEDED", adapter_version=5, finished_at=ended).outcome == "version 5, made champion"


def test_knobs_in_a_few_words() -> None:
    config = {"method": "lora", "rank": 4, "encoders": "item", "tune_layer_norm": False, "tune_dtl": False}
    assert knobs(config) == "rank 4, encoders item, no tune dtl"
    assert knobs({"method": "houlsby", "position": "both", "bottleneck": 64}) == "bottleneck 64"


@pytest.mark.parametrize(
    ("seconds", "text"), [(None, "–"), (4.4, "4 s"), (61, "1 min 1 s"), (3700, "1 h 1 min")]
)
def test_durations(seconds: float | None, text: str) -> None:
    assert duration(seconds) == text


def test_the_forms_body() -> None:
    form = {"method": "lora", "adapter.rank": "x", "adapter.top_layers": "", "fit.seed": "7", "other": "1"}
    assert body_of(form | {"outcome": "version", "share": "5"}) == {
        "adapter": {"method": "lora", "rank": "x"},
        "fit": {"seed": "7"},
        "promote": False,
    }
    challenger = body_of({"outcome": "challenger", "share": "a lot"})
    assert challenger["as_challenger"] == {"share": "a lot"}  # the API says what is wrong with it


def test_where_an_error_belongs() -> None:
    knobs = ["bottleneck", "user_bottleneck", "top_layers"]
    errors = [
        {"field": "body.fit.seed", "message": "too large"},
        {"field": "body.adapter", "message": "Value error, user_bottleneck is at least 1"},
        {"field": "body.as_challenger.share", "message": "not a number"},
        {"field": "body", "message": "no JSON"},
    ]
    assert errors_of(ApiProblem(422, {"errors": errors}), knobs) == {
        "fit.seed": "too large",
        "adapter.user_bottleneck": "user_bottleneck is at least 1",
        "share": "not a number",
        "": "no JSON",
    }
    whole = ApiProblem(422, {"detail": "top_layers is 9, but the item encoder has 2 layers."})
    assert list(errors_of(whole, knobs)) == ["adapter.top_layers"]


def test_a_guard_is_shown_while_it_lasts() -> None:
    def moves(hours_ago: float, *later: dict[str, Any]) -> Moves:
        at = (NOW - timedelta(hours=hours_ago)).isoformat()
        promote = {"alias": "champion", "action": "promote", "at": at, "detail": {"guard": {"hours": 24}}}
        return Moves([promote, *later])

    assert moves(1).guarded_until == (NOW + timedelta(hours=23)).isoformat()
    assert moves(25).guarded_until is None
    back = {"alias": "champion", "action": "rollback", "at": NOW.isoformat(), "detail": {}}
    assert moves(1, back).guarded_until is None
