"""A channel's items as a map: a 2-D projection of their vectors."""

from fastapi import APIRouter
from fastapi.responses import Response

from app.console.gateway import ApiProblem
from app.console.visit import ChannelDep, ChannelVisit

router = APIRouter(prefix="/channels/{tenant}/{channel}/map")
# A group's mark and, by its number, its colour: either alone tells it from the others.
MARKS = "●▲■◆✚★▼○△□"


@router.get("")
async def show(here: ChannelDep, version: int | None = None, by: str = "") -> Response:
    """The map of the champion's items, or of another version that answers."""
    versions = _versions(here)
    chosen = version if version is not None else next(iter(versions), 0)
    try:
        found = await here.get(f"{here.admin}/releases/{chosen}/map", by=by or None, limit=1000)
    except ApiProblem as error:
        return here.page("map.html", found=None, problem=error.detail or error.title)
    number = {group["name"]: n for n, group in enumerate(found["groups"])}
    return here.page("map.html", found=found, versions=versions, number=number, marks=MARKS)


def _versions(here: ChannelVisit) -> dict[int, str]:
    """The versions that are loaded, the champion first, and what they are."""
    serving = here.channel["serving"]
    loaded = [("challenger", serving["challenger"]), ("champion", serving["release"])]
    found = {ref["version"]: f"{ref['version']}: {ref['method']}, {name}" for name, ref in loaded if ref}
    return dict(reversed(found.items()))
