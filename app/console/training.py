"""A channel's training jobs: start one, follow it, cancel it."""

from typing import Any
from urllib.parse import quote

from fastapi import APIRouter
from fastapi.responses import Response

from app.console.gateway import ApiProblem
from app.console.job_view import JobView
from app.console.people import people
from app.console.training_form import DEFAULT_METHOD, MORE, body_of, errors_of
from app.console.visit import ChannelDep, ChannelVisit

router = APIRouter()
TRAINING = "/channels/{tenant}/{channel}/training"
SHOWN = 25
INVALID = 422


@router.get(TRAINING)
async def show(here: ChannelDep, before: str | None = None) -> Response:
    """The jobs, and the form that starts one."""
    form = await _form(here, {}, {})
    return here.page("training.html", **await _jobs(here, before), **form)


@router.get(TRAINING + "/jobs")
async def list_jobs(here: ChannelDep, before: str | None = None) -> Response:
    """The list alone, which follows the jobs."""
    return here.part("parts/training_jobs.html", **await _jobs(here, before))


@router.get(TRAINING + "/knobs")
async def show_knobs(here: ChannelDep, method: str = DEFAULT_METHOD) -> Response:
    """The knobs of the method that was chosen, at their defaults."""
    form = await _form(here, {"method": method}, {})
    return here.part("parts/training_knobs.html", **form)


@router.post(TRAINING)
async def start(here: ChannelDep) -> Response:
    """Start a job, or show beside the form's fields why not."""
    async with here.visit.request.form(max_files=0, max_fields=60) as sent:
        values = {name: str(value).strip() for name, value in sent.multi_items()}  # of twins the last
    try:
        job = await here.post(f"{here.admin}/training-jobs", body_of(values))
    except ApiProblem as problem:
        if problem.status != INVALID:
            raise
        methods = await here.get(f"{here.admin}/methods")
        knobs = [knob["name"] for knob in _method(methods, values)["knobs"]]
        form = await _form(here, values, errors_of(problem, knobs), methods)
        return here.part("parts/training_form.html", **form)
    return here.visit.go(f"{here.path}/training/{job['id']}")


@router.get(TRAINING + "/{job_id}")
async def show_job(here: ChannelDep, job_id: str) -> Response:
    """One job."""
    job = await _job(here, job_id)
    return here.page("job.html", job=job, names=await people(here))


@router.get(TRAINING + "/{job_id}/live")
async def follow_job(here: ChannelDep, job_id: str) -> Response:
    """Where it stands now; the part asks for itself again until the job has ended."""
    return here.part("parts/training_job.html", job=await _job(here, job_id))


@router.post(TRAINING + "/{job_id}/cancel")
async def cancel(here: ChannelDep, job_id: str) -> Response:
    """Ask for its end."""
    found = JobView(await here.post(f"{_path(here, job_id)}/cancel"))
    said = "The job is cancelled." if not found.open else "The worker is asked to stop."
    return here.part("parts/training_job.html", said, job=found)


def _path(here: ChannelVisit, job_id: str) -> str:
    return f"{here.admin}/training-jobs/{quote(job_id, safe='')}"


async def _job(here: ChannelVisit, job_id: str) -> JobView:
    return JobView(await here.get(_path(here, job_id)))


async def _jobs(here: ChannelVisit, before: str | None) -> dict[str, Any]:
    found = await here.get(f"{here.admin}/training-jobs", limit=SHOWN + 1, before=before)
    shown = [JobView(job) for job in found[:SHOWN]]
    more = shown[-1].job["id"] if len(found) > SHOWN else None
    return {"jobs": shown, "more": more, "before": before, "names": await people(here)}


async def _form(
    here: ChannelVisit, values: dict[str, str], errors: dict[str, str], methods: Any = None
) -> dict[str, Any]:
    methods = methods or await here.get(f"{here.admin}/methods")
    return {
        "methods": methods,
        "method": _method(methods, values),
        "recommended": DEFAULT_METHOD,
        "more_fields": MORE,
        "values": values,
        "errors": errors,
    }


def _method(methods: list[dict[str, Any]], values: dict[str, str]) -> dict[str, Any]:
    named = {method["name"]: method for method in methods}
    return named.get(values.get("method", DEFAULT_METHOD), named[DEFAULT_METHOD])
