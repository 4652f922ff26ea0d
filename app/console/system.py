"""The state of the service: tiers, queue, memory, workers, and whether it is ready."""

from typing import Any

from fastapi import APIRouter
from fastapi.responses import Response

from app.console.gateway import ApiProblem
from app.console.visit import Visit, VisitDep

router = APIRouter()


@router.get("/system")
async def show(visit: VisitDep) -> Response:
    """The page."""
    return visit.page("system.html", **await _state(visit))


@router.get("/system/state")
async def show_state(visit: VisitDep) -> Response:
    """What of the page changes."""
    return visit.part("parts/system_state.html", **await _state(visit))


async def _state(visit: Visit) -> dict[str, Any]:
    serving = await visit.api.get("/v1/admin/serving")
    return {
        "serving": serving,
        "workers": await visit.api.get("/v1/admin/workers"),
        "ready": await _ready(visit),
        "hit_rate": _hit_rate,
    }


async def _ready(visit: Visit) -> dict[str, Any]:
    try:
        found: dict[str, Any] = await visit.api.get("/health/ready")
    except ApiProblem as error:
        return {
            "database": "unknown",
            "redis": "unknown",
            "failing": {},
            **error.problem,
            "status": "not ready",
        }
    return found


def _hit_rate(tier: dict[str, Any]) -> float | None:
    asked = tier["hits"] + tier["misses"]
    return tier["hits"] / asked if asked else None
