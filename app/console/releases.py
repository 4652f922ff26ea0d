"""A channel's releases: compare, promote, try on a share of the users, roll back."""

from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import quote

from fastapi import APIRouter
from fastapi.responses import Response
from starlette.datastructures import FormData

from app.console.comparison import Side, compare
from app.console.gateway import ApiProblem
from app.console.people import people
from app.console.release_view import Moves, ReleaseView, RolloutView
from app.console.training_form import share_of
from app.console.visit import ChannelDep, ChannelVisit

router = APIRouter()
RELEASES = "/channels/{tenant}/{channel}/releases"
MOVES = 50
NOT_FOUND = 404
GUARD_HOURS = 24


@router.get(RELEASES)
async def show(here: ChannelDep) -> Response:
    """The versions, the trial, the history."""
    return here.page("releases.html", **await _state(here))


@router.get(RELEASES + "/trial")
async def follow_trial(here: ChannelDep) -> Response:
    """What the trial has shown until now; the part asks for itself again while the trial lasts."""
    rollout = await _rollout(here)
    if rollout is None:  # a rule or somebody else has ended it
        return here.visit.go(f"{here.path}/releases")
    return here.part("parts/releases_trial.html", rollout=rollout)


@router.get(RELEASES + "/compare")
async def show_comparison(here: ChannelDep, a: int | None = None, b: int | None = None) -> Response:
    """Two versions side by side; left out, the champion and what may follow it."""
    versions = [ReleaseView(found) for found in await here.get(f"{here.admin}/releases")]
    chosen = {version.number: version for version in versions}
    first, second = _chosen(versions, here.visit.request.query_params.getlist("v"), a, b)
    one, other = [Side(chosen[number], await _curve(here, chosen[number])) for number in (first, second)]
    online = await here.get(f"{here.admin}/online", since=_long_ago(one, other))
    return here.page("compare.html", versions=versions, comparison=compare(one, other, online))


@router.get(RELEASES + "/promote")
async def ask_promote(here: ChannelDep, version: int) -> Response:
    """The dialog that asks whether and why."""
    return here.part("parts/releases_promote.html", version=version, hours=GUARD_HOURS)


@router.post(RELEASES + "/promote")
async def promote(here: ChannelDep) -> Response:
    """Make a version the champion, unless the champion is no longer the one that was shown."""
    form = await _read(here)
    body = _move(form) | {"version": form["version"]}
    if form.get("guard"):
        body["guard"] = {"hours": GUARD_HOURS}
    return await _act(
        here,
        lambda: here.post(f"{here.admin}/releases/promote", body),
        f"Version {form['version']} is the champion.",
    )


@router.get(RELEASES + "/rollback")
async def ask_rollback(here: ChannelDep, version: int) -> Response:
    """The dialog that names the version which it returns to."""
    return here.part("parts/releases_rollback.html", version=version)


@router.post(RELEASES + "/rollback")
async def rollback(here: ChannelDep) -> Response:
    """Return to the champion before this one."""
    form = await _read(here)
    return await _act(
        here,
        lambda: here.post(f"{here.admin}/releases/rollback", _move(form)),
        f"Version {form['version']} is the champion again.",
    )


@router.get(RELEASES + "/challenge")
async def ask_challenge(here: ChannelDep, version: int) -> Response:
    """The dialog that begins a trial."""
    return here.part("parts/releases_challenge.html", version=version)


@router.post(RELEASES + "/challenge")
async def challenge(here: ChannelDep) -> Response:
    """Begin a trial, or change how it is done."""
    form = await _read(here)
    body = _move(form) | {"version": form["version"], "share": share_of(form.get("share", "0"))}
    body["shadow"] = "shadow" in form
    if "rule" in form:
        body["rule"] = {"max_drop": share_of(form["max_drop"]), "min_recommendations": form["least"]}
    return await _act(
        here,
        lambda: here.visit.api.put(f"{here.admin}/releases/challenger", body, tenant=here.tenant),
        f"Version {form['version']} is the challenger on {form.get('share', '0')} % of the users.",
    )


@router.post(RELEASES + "/withdraw")
async def withdraw(here: ChannelDep) -> Response:
    """End the trial; the champion answers everybody."""
    form = await _read(here)
    query = _move(form) | {"tenant": here.tenant}
    return await _act(
        here,
        lambda: here.visit.api.delete(f"{here.admin}/releases/challenger", **query),
        "The trial is ended.",
    )


@router.post(RELEASES + "/adapters")
async def upload(here: ChannelDep) -> Response:
    """Pass a safetensors file on to the API as it comes."""
    request = here.visit.request
    headers = {"Content-Type": "application/octet-stream"}
    made = await here.visit.api.send(
        "POST",
        f"{here.admin}/adapters",
        {"tenant": here.tenant},
        content=request.stream(),
        headers=headers,
    )
    notice = f"Version {made.json()['version']} is registered. Compare it or try it before you promote it."
    return here.part("parts/releases_body.html", notice, **await _state(here))


@router.get(RELEASES + "/{version}/weights")
async def download(here: ChannelDep, version: int) -> Response:
    """A version's safetensors file."""
    path = f"{here.admin}/adapters/{version}/weights"
    found = await here.visit.api.send("GET", path, {"tenant": here.tenant})
    kept = {name: found.headers[name] for name in ("Content-Disposition", "Content-Type")}
    return Response(found.content, headers=kept)


async def _act(here: ChannelVisit, act: Callable[[], Awaitable[Any]], notice: str) -> Response:
    """Do it, and show all anew; also after a refusal, for what was shown may be out of date."""
    try:
        await act()
    except ApiProblem as problem:
        return here.part("parts/releases_body.html", **await _state(here, problem))
    return here.part("parts/releases_body.html", notice, **await _state(here))


async def _state(here: ChannelVisit, problem: ApiProblem | None = None) -> dict[str, Any]:
    versions = [ReleaseView(found) for found in await here.get(f"{here.admin}/releases")]
    moves = Moves(await here.get(f"{here.admin}/releases/history"))
    return {
        "versions": versions,
        "champion": next(version for version in versions if version.is_champion),
        "previous": next((version for version in versions if version.release["previous"]), None),
        "rollout": await _rollout(here),
        "moves": moves,
        "shown_moves": MOVES,
        "names": await people(here),
        "problem": problem,
    }


async def _rollout(here: ChannelVisit) -> RolloutView | None:
    try:
        return RolloutView(await here.get(f"{here.admin}/releases/rollout"))
    except ApiProblem as problem:
        if problem.status == NOT_FOUND:
            return None
        raise


async def _read(here: ChannelVisit) -> dict[str, str]:
    async with here.visit.request.form(max_files=0, max_fields=20) as form:
        assert isinstance(form, FormData)  # noqa: S101
        return {name: str(value).strip() for name, value in form.items()}


def _move(form: dict[str, str]) -> dict[str, Any]:
    """What every move says: why, and what its maker saw, so that two of them do not undo each other."""
    seen = form["expected_current"]
    return {"reason": form.get("reason", ""), "expected_current": None if seen == "none" else seen}


def _chosen(versions: list[ReleaseView], ticked: list[str], a: int | None, b: int | None) -> tuple[int, int]:
    there = [version.number for version in versions]
    asked = [a, b] if a is not None or b is not None else [int(v) for v in ticked if v.isdecimal()]
    wanted = [number for number in asked if number in there]
    champion = next(version.number for version in versions if version.is_champion)
    usual = [champion, *[number for number in there if number != champion], champion]
    pair = [*wanted[:2], *[number for number in usual if number not in wanted], champion]
    return pair[0], pair[1]


async def _curve(here: ChannelVisit, version: ReleaseView) -> list[dict[str, float]]:
    if not version.release["job_id"]:
        return []
    try:
        job = await here.get(f"{here.admin}/training-jobs/{quote(version.release['job_id'], safe='')}")
    except ApiProblem:
        return []
    curve: list[dict[str, float]] = job["result"].get("curve", [])
    return curve


def _long_ago(*sides: Side) -> str:
    """Since when either was there; the API keeps no more than a month."""
    return min(str(side.version.release["created_at"]) for side in sides)
