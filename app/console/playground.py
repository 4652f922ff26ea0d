"""Ask a channel for recommendations, of champion and challenger side by side."""

import asyncio
from dataclasses import replace
from typing import Any

from fastapi import APIRouter
from fastapi.responses import RedirectResponse, Response

from app.console import answers
from app.console.asked import MOST_COUNT, MOST_ITEMS, MOST_PAGES, OPERATORS, Asked
from app.console.gateway import ApiProblem
from app.console.visit import ChannelDep, ChannelVisit, NamedDep

router = APIRouter(prefix="/channels/{tenant}/{channel}/playground")
SUGGESTED = 8
VERSIONS = 20  # the newest that are offered


@router.get("")
async def show(here: ChannelDep) -> Response:
    """The page of a question; the part that changes, where htmx asks; after an act, with another address."""
    request = here.visit.request
    query, act = request.query_params, request.query_params.get("do", "")
    asked = await _after(here, Asked.of(query), act)
    path = f"{here.path}/playground{asked.query}"
    is_part = "HX-Request" in request.headers and "HX-History-Restore-Request" not in request.headers
    if not is_part:
        return (
            RedirectResponse(path, 303) if act else here.page("playground.html", **await _shown(here, asked))
        )
    if not act:  # the options have changed
        asked = replace(asked, pages=1, similar="")
        path = f"{here.path}/playground{asked.query}"
    answer = here.part(
        "parts/playground.html" if act else "parts/playground_changed.html", **await _shown(here, asked)
    )
    if not request.headers.get("HX-Current-URL", "").endswith(path):  # Back leads to another question
        answer.headers["HX-Push-Url"] = path
    if act:
        answer.headers["HX-Retarget"] = "#playground"
    return answer


@router.get("/users")
async def users(here: NamedDep, user: str = "") -> Response:
    """Users whose ids begin so, to choose from."""
    found = await here.get(f"{here.v1}/users", search=user.strip()[:128], limit=SUGGESTED)
    return here.part("parts/playground_users.html", users=found["users"], typed=user)


@router.get("/items")
async def items(here: NamedDep, q: str = "") -> Response:
    """Items that a search finds, to choose from; nothing for no search."""
    found = (
        await here.get(f"{here.v1}/items", search=q.strip()[:1000], limit=SUGGESTED) if q.strip() else None
    )
    return here.part("parts/playground_items.html", items=found and found["items"], typed=q)


async def _after(here: ChannelVisit, asked: Asked, act: str) -> Asked:
    """What is asked after an act; some acts need to know what the API knows."""
    if act == "random":
        drawn = (await here.get(f"{here.v1}/users", random=True))["users"]
        return asked.done(f"user:{drawn[0]}") if drawn else asked
    if act.startswith("add:") and asked.user:  # the user's history, and one item more
        met = await answers.history(here, asked)
        known = [item["item_id"] for item in reversed(met) if item["text"] is not None]
        asked = replace(asked, user="", items=tuple(known))
    return asked.done(act)


async def _shown(here: ChannelVisit, asked: Asked) -> dict[str, Any]:
    found, history, similar, versions = await asyncio.gather(
        answers.columns(here, asked),
        answers.history(here, asked),
        answers.similar(here, asked.similar),
        _versions(here),
    )
    attributes = {name for column in found for item in column.items for name in item["metadata"]} - {"text"}
    return {
        "asked": asked,
        "columns": found,
        "history": history,
        "similar": similar,
        "versions": versions,
        "attributes": sorted(attributes),
        "is_operator": answers.is_operator(here),
        "has_images": here.channel["modality"] == "image",
        "operators": OPERATORS,
        "most": {"items": MOST_ITEMS, "pages": MOST_PAGES, "count": MOST_COUNT},
        "has_more": asked.pages < MOST_PAGES
        and any(len(column.items) == asked.count * asked.pages for column in found),
    }


async def _versions(here: ChannelVisit) -> list[dict[str, Any]]:
    """Versions to compare with, beside champion and challenger, the newest first."""
    if not answers.is_operator(here):
        return []
    try:
        found = await here.get(f"{here.admin}/releases")
    except ApiProblem:
        return []
    others = [each for each in found if not each["champion"] and not each["challenger"]]
    return sorted(others, key=lambda each: -each["version"])[:VERSIONS]
