"""A channel's data: imports, items, interactions, how they are distributed."""

import csv
import io
from typing import Any
from urllib.parse import quote

from fastapi import APIRouter
from fastapi.responses import Response

from app.console.gateway import ApiProblem
from app.console.items import page_of, told
from app.console.visit import ChannelDep, ChannelVisit, NamedDep

router = APIRouter(prefix="/channels/{tenant}/{channel}/data")
IMPORTS = 20  # past ones on the page
LINES = 100  # bad ones on the page; all that the report has are in the CSV


@router.get("")
async def show(here: ChannelDep) -> Response:
    """The page; what takes long comes behind."""
    return here.page("data.html", imports=await _imports(here), **await page_of(here))


@router.get("/facts")
async def facts(here: ChannelDep) -> Response:
    """The channel's figures."""
    return here.part("parts/data_facts.html")


@router.get("/statistics")
async def statistics(here: NamedDep) -> Response:
    """How the data is distributed."""
    return here.part("parts/data_statistics.html", found=await here.get(f"{here.v1}/statistics"))


@router.get("/imports")
async def imports(here: NamedDep) -> Response:
    """Past imports."""
    return here.part("parts/data_imports.html", imports=await _imports(here))


@router.post("/imports")
async def send(
    here: NamedDep,
    kind: str,
    format: str,  # noqa: A002 - the word for it
    gzip: bool = False,
) -> Response:
    """Import a file: the body, passed on as it comes. Answers with the report, or with what is wrong."""
    request = here.visit.request
    try:
        answer = await here.visit.api.send(
            "POST",
            f"{here.v1}/imports",
            {"tenant": here.tenant, "kind": kind, "format": format},
            content=request.stream(),
            headers={"Content-Encoding": "gzip"} if gzip else None,
        )
    except ApiProblem as error:
        report = error.problem.get("report")
        if report is None:
            return told(here, error)
        return _report(here, report, error.status)
    return _report(here, answer.json())


@router.get("/imports/{import_id}")
async def report(here: NamedDep, import_id: str) -> Response:
    """The report of a past import."""
    return _report(here, await _import(here, import_id))


@router.get("/imports/{import_id}/bad-lines.csv")
async def bad_lines(here: NamedDep, import_id: str) -> Response:
    """The bad lines of an import as a file."""
    found, text = await _import(here, import_id), io.StringIO()
    writer = csv.writer(text)
    writer.writerow(("line", "reason"))
    writer.writerows((bad["line"], bad["reason"]) for bad in found["errors"])
    headers = {"Content-Disposition": 'attachment; filename="bad-lines.csv"'}
    return Response(text.getvalue(), media_type="text/csv; charset=utf-8", headers=headers)


async def _imports(here: ChannelVisit) -> Any:
    return await here.get(f"{here.v1}/imports", limit=IMPORTS)


async def _import(here: ChannelVisit, import_id: str) -> dict[str, Any]:
    found: dict[str, Any] = await here.get(f"{here.v1}/imports/{quote(import_id, safe='')}")
    return found


def _report(here: ChannelVisit, found: dict[str, Any], status: int = 200) -> Response:
    answer = here.part("parts/data_report.html", report=found, lines=found["errors"][:LINES])
    answer.status_code = status
    return answer
