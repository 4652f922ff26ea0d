"""A channel's front page, and making a new channel."""

from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Form
from fastapi.responses import Response

from app.console.gateway import ApiProblem
from app.console.overview import KINDS, tenants
from app.console.release_view import Moves
from app.console.visit import ChannelDep, ChannelVisit, VisitDep, channel_path

router = APIRouter()
HOURS, MOVES = 24, 5
TRAINED = {"SUCCEEDED", "REJECTED"}


@router.post("/channels")
async def create(
    visit: VisitDep,
    name: Annotated[str, Form()] = "",
    tenant: Annotated[str, Form()] = "",
    modality: Annotated[str, Form()] = "text",
    description: Annotated[str, Form()] = "",
) -> Response:
    """Make a channel and go there; the form comes back with what was wrong."""
    body = {"name": name.strip(), "modality": modality, "description": description.strip()}
    owner = tenant or visit.me["tenant"]
    try:
        made = await visit.api.post("/v1/admin/channels", body, tenant=owner)
    except ApiProblem as problem:
        # In place: a notice would lie behind the dialog.
        given = body | {"tenant": owner}
        return visit.part(
            "parts/overview_new.html", tenants=await tenants(visit), given=given, error=problem.detail
        )
    return visit.go(channel_path(owner, made["name"]))


@router.get("/channels/{tenant}/{channel}")
async def show(here: ChannelDep) -> Response:
    """The front page."""
    front = await _front(here)
    if front["state"] is None:
        return here.page("channel_front.html", **front, traffic=None)
    hours = await here.get(f"{here.admin}/traffic", hours=HOURS)
    return here.page("channel_front.html", **front, traffic=_charted(hours))


@router.get("/channels/{tenant}/{channel}/front")
async def look(here: ChannelDep) -> Response:
    """What changes by itself."""
    return here.part("parts/channel_front.html", **await _front(here))


async def _front(here: ChannelVisit) -> dict[str, Any]:
    shown: dict[str, Any] = {"state": None, "job": None, "moves": [], "kinds": KINDS}
    if here.visit.me["role"] != "operator":
        return shown
    state = await here.get(f"{here.admin}/overview")
    job = state["job"]
    if job and job["state"] in ("PENDING", "RUNNING"):
        shown["job"] = await here.get(f"{here.admin}/training-jobs/{job['id']}")
    moves = await here.get(f"{here.admin}/releases/history")
    return shown | {"state": state, "moves": Moves(moves).newest_first[:MOVES], "steps": _steps(here, state)}


def _steps(here: ChannelVisit, state: dict[str, Any]) -> list[tuple[str, bool, str, str]]:
    """What a new channel needs: (what, whether it is done, where, why)."""
    job, champion = state["job"], state["champion"]["version"]
    trained = bool(champion or state["challenger"] or (job and job["state"] in TRAINED))
    steps = [
        ("Import items", here.channel["items"] > 0, "/data", "what can be recommended"),
        ("Import interactions", state["interactions"] > 0, "/data", "who met what, and when"),
        ("Train an adapter", trained, "/training", "with the defaults, to begin with"),
        ("Make it champion", champion > 0, "/releases", "a job that passes the gate does so by itself"),
    ]
    if here.channel["modality"] == "image":
        steps.insert(1, ("Import images", here.channel["images"] > 0, "/data", "an item needs one"))
    return steps


def _charted(hours: list[dict[str, Any]]) -> dict[str, Any]:
    """The series of the two charts; a variant that never answered is left out, but for the champion."""
    variants = ["champion"]
    if any(hour["challenger"]["recommendations"] for hour in hours):
        variants.append("challenger")
    return {
        "x": [f"{datetime.fromisoformat(hour['at']):%H:%M}" for hour in hours],
        "recommendations": _series(hours, variants, "recommendations"),
        "ctr": _series(hours, variants, "ctr"),
        "any": any(hour[variant]["recommendations"] for hour in hours for variant in variants),
    }


def _series(hours: list[dict[str, Any]], variants: list[str], field: str) -> list[dict[str, Any]]:
    return [{"label": variant, "values": [hour[variant][field] for hour in hours]} for variant in variants]
