"""The overview: every channel's state at a glance."""

from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from fastapi import APIRouter
from fastapi.responses import Response

from app.console.gateway import ApiProblem
from app.console.security import PATH
from app.console.sketches import bars, sparkline
from app.console.visit import Visit, VisitDep, channel_path

router = APIRouter()
PAGE = 50  # rows
NOT_FOUND = 404
KINDS = {"ok": "good", "training": "warn", "behind": "warn", "failed": "bad", "empty": ""}
"""How a health is coloured."""


@dataclass(frozen=True)
class Column:
    """A column of the table; one with a `key` can be sorted by, `first` says which way first."""

    label: str
    key: str = ""
    first: str = ""
    css: str = ""


COLUMNS = (
    Column("Health", "health"),
    Column("Channel", "name"),
    Column("Tenant"),
    Column("Items", "items", "-", "number"),
    Column("Interactions", "interactions", "-", "number"),
    Column("Champion"),
    Column("HR@10", "hr10", "-"),
    Column("Over popularity", "lift", "-"),
    Column("Traffic, 24 h", "recommendations", "-"),
    Column("CTR", css="number"),
    Column("Changed", "changed", "-"),
)


@dataclass(frozen=True)
class Find:
    """What of the channels is shown, in which order, from where."""

    search: str = ""
    sort: str = "name"
    after: str | None = None

    def link(self, path: str = "/", **changes: Any) -> str:
        """The address of the page, or of a part of it, with these changes."""
        query = {"search": self.search, "sort": self.sort, "after": self.after} | changes
        said = {key: value for key, value in query.items() if value and (key, value) != ("sort", "name")}
        return f"{PATH}{path}" + (f"?{urlencode(said)}" if said else "")

    def turn(self, column: Column) -> str:
        """Where a column's heading leads: sorted by it, the other way if it is already."""
        other = "" if column.first else "-"
        first = column.first + column.key
        return self.link(sort=other + column.key if self.sort == first else first, after=None)

    def direction(self, column: Column) -> str:
        """As ARIA calls it, "" for another column."""
        if not column.key or self.sort.removeprefix("-") != column.key:
            return ""
        return "descending" if self.sort.startswith("-") else "ascending"


@router.get("/")
async def show(visit: VisitDep, search: str = "", sort: str = "name", after: str | None = None) -> Response:
    """The first page after signing in."""
    if visit.me["role"] != "operator":
        return visit.page("overview_plain.html", channels=await visit.api.get("/v1/channels"))
    board = await _board(visit, Find(search, sort, after))
    return visit.page("overview.html", **board, tenants=await tenants(visit))


@router.get("/overview")
async def look(
    visit: VisitDep,
    search: str = "",
    sort: str = "name",
    after: str | None = None,
    part: str = "board",
) -> Response:
    """What a page asks for again: the board when the search has changed, its rows every few seconds."""
    find = Find(search, sort, after)
    try:
        board = await _board(visit, find)
    except ApiProblem as problem:
        if problem.status == NOT_FOUND and after:  # the last channel of the page before is gone
            return visit.go(find.link(after=None))
        raise
    if part == "rows":
        return visit.part("parts/overview_again.html", **board)
    answer = visit.part("parts/overview_board.html", **board)
    answer.headers["HX-Replace-Url"] = find.link()
    return answer


async def tenants(visit: Visit) -> list[str]:
    """The names of the tenants that the visitor can make channels for."""
    if not visit.is_platform:
        return [visit.me["tenant"]]
    return [tenant["name"] for tenant in await visit.api.get("/v1/admin/tenants")]


async def _board(visit: Visit, find: Find) -> dict[str, Any]:
    found = await visit.api.get(
        "/v1/admin/overview", search=find.search, sort=find.sort, after=find.after, limit=PAGE
    )
    shown = [column for column in COLUMNS if column.label != "Tenant" or visit.is_platform]
    return {
        "overview": found,
        "find": find,
        "columns": shown,
        "kinds": KINDS,
        "sparkline": sparkline,
        "bars": bars,
        "channel_path": channel_path,
    }
