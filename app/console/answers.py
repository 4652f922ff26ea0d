"""Answers of several releases to one question, side by side."""

import asyncio
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

from app.console.asked import MOST_ITEMS, Asked
from app.console.gateway import ApiProblem
from app.console.visit import ChannelVisit


@dataclass
class Column:
    """What one release answers, page after page, or why it does not; `moves` are against the champion."""

    key: str  # champion, challenger or v3
    ask: dict[str, Any]
    answer: dict[str, Any] = field(default_factory=dict)
    items: list[dict[str, Any]] = field(default_factory=list)
    problem: str = ""
    moves: list[int | None] = field(default_factory=list)
    """How many ranks each item stands higher than the champion has it; None: the champion lacks it."""

    @property
    def ids(self) -> list[str]:
        """The items' ids, best first."""
        return [item["item_id"] for item in self.items]


def is_operator(here: ChannelVisit) -> bool:
    """Whether the visitor may ask for more than the champion, and see users."""
    return bool(here.visit.me["role"] == "operator")


async def columns(here: ChannelVisit, asked: Asked) -> list[Column]:
    """The champion's answer and, for an operator, the challenger's and the chosen version's."""
    found = [Column("champion", {"variant": "champion"})]
    if is_operator(here):
        if here.channel["challenger"]:
            found.append(Column("challenger", {"variant": "challenger"}))
        if asked.version is not None:
            found.append(Column(f"v{asked.version}", {"version": asked.version}))
    await asyncio.gather(*(_fill(here, asked, column) for column in found))
    places = {item_id: rank for rank, item_id in enumerate(found[0].ids)}
    for column in found:
        column.moves = [
            places[item_id] - rank if item_id in places else None for rank, item_id in enumerate(column.ids)
        ]
    return found


async def _fill(here: ChannelVisit, asked: Asked, column: Column) -> None:
    """A page excludes what those before it have shown, as the API's own next pages do."""
    try:
        for _ in range(asked.pages):
            body = {**asked.body, **column.ask, "exclude_item_ids": column.ids}
            column.answer = await here.post(f"{here.v1}/recommendations/preview", body)
            column.items += column.answer["items"]
            if len(column.answer["items"]) < asked.count:
                break
    except ApiProblem as error:
        column.problem = error.detail or error.title


async def history(here: ChannelVisit, asked: Asked) -> list[dict[str, Any]]:
    """The history as it is shown: the user's newest items, newest first, or the built one, oldest first.

    An item that the catalogue lacks has a `text` of None.
    """
    if asked.user:
        if not is_operator(here):
            return []
        path = f"{here.v1}/users/{quote(asked.user, safe='')}/history"
        met: list[dict[str, Any]] = (await here.get(path, limit=MOST_ITEMS))["items"]
        return met
    if not asked.items:
        return []
    found = (await here.get(f"{here.v1}/items", item_id=list(asked.items)))["items"]
    known = {item["item_id"]: item for item in found}
    return [
        known.get(item_id, {"item_id": item_id, "text": None, "attributes": None}) for item_id in asked.items
    ]


async def similar(here: ChannelVisit, item_id: str) -> dict[str, Any]:
    """The items nearest to one, or the `problem` with that."""
    if not item_id:
        return {}
    try:
        path = f"{here.v1}/items/{quote(item_id, safe='')}/similar"
        found: dict[str, Any] = await here.get(path, count=10)
    except ApiProblem as error:
        return {"problem": error.detail, "items": []}
    return {"problem": "", **found}
