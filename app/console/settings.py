"""A channel's settings: what it is, when it is trained again by itself, its deletion."""

from typing import Annotated, Any

from fastapi import APIRouter, Form
from fastapi.responses import Response

from app.console.gateway import ApiProblem
from app.console.people import people
from app.console.security import PATH
from app.console.visit import ChannelDep, ChannelVisit
from app.model.methods import METHODS, RECOMMENDED, recommended

router = APIRouter()
NOT_FOUND = 404
BECOMES = {
    "champion": "champion at once",
    "challenger": "challenger for 5 % of users",
    "version": "a version only",
}


@router.get("/channels/{tenant}/{channel}/settings")
async def show(here: ChannelDep) -> Response:
    """The settings."""
    return here.page("settings.html", **await _policy(here))


@router.post("/channels/{tenant}/{channel}/settings/description")
async def describe(here: ChannelDep, description: Annotated[str, Form()] = "") -> Response:
    """Say what the channel is for."""
    body = {"description": description.strip()}
    await here.visit.api.patch(here.admin, body, tenant=here.tenant)
    here.channel.update(body)
    return here.part("parts/settings_channel.html", "The description is changed.")


@router.post("/channels/{tenant}/{channel}/settings/policy")
async def set_policy(
    here: ChannelDep,
    every_hours: Annotated[str, Form()] = "",
    after_interactions: Annotated[str, Form()] = "",
    method: Annotated[str, Form()] = "",
    becomes: Annotated[str, Form()] = "champion",
) -> Response:
    """Have the channel trained again by itself."""
    known = (await _policy(here))["policy"]
    job = known["job"] if known and known["job"]["adapter"]["method"] == method else {}
    body = {
        "every_hours": every_hours.strip() or None,
        "after_interactions": after_interactions.strip() or None,
        "job": _job(job, method, becomes),
    }
    await here.visit.api.put(f"{here.admin}/training-policy", body, tenant=here.tenant)
    return here.part("parts/settings_policy.html", "The policy is set.", **await _policy(here))


@router.post("/channels/{tenant}/{channel}/settings/policy/delete")
async def delete_policy(here: ChannelDep) -> Response:
    """Have it trained by hand only."""
    await here.visit.api.delete(f"{here.admin}/training-policy", tenant=here.tenant)
    notice = "The channel is trained by hand only."
    return here.part("parts/settings_policy.html", notice, **await _policy(here))


@router.post("/channels/{tenant}/{channel}/settings/delete")
async def delete(here: ChannelDep, confirm: Annotated[str, Form()] = "") -> Response:
    """Delete the channel with all that is in it."""
    await here.visit.api.delete(here.admin, tenant=here.tenant, confirm=confirm)
    return here.visit.go(f"{PATH}/")


def _job(known: dict[str, Any], method: str, becomes: str) -> dict[str, Any]:
    """A job of that method: the known one's knobs, if it is of the same."""
    adapter = recommended() if method == RECOMMENDED.method else {"method": method}
    job = {"adapter": adapter, **known, "promote": becomes != "version"}
    if becomes != "challenger":
        job.pop("as_challenger", None)
    elif not job.get("as_challenger"):
        job["as_challenger"] = {"share": 0.05}
    return job


async def _policy(here: ChannelVisit) -> dict[str, Any]:
    """The policy, if there is one and the visitor may know."""
    policy = None
    if here.visit.me["role"] == "operator":
        try:
            policy = await here.get(f"{here.admin}/training-policy")
        except ApiProblem as error:
            if error.status != NOT_FOUND:
                raise
    names = await people(here) if policy else None
    return {
        "policy": policy,
        "names": names,
        "methods": list(METHODS),
        "recommended": RECOMMENDED.method,
        "becomes": BECOMES,
        "chosen": _chosen(policy),
    }


def _chosen(policy: dict[str, Any] | None) -> str:
    job = policy["job"] if policy else {}
    if not job.get("promote", True):
        return "version"
    return "challenger" if job.get("as_challenger") else "champion"
