"""Recommendations."""

import json
from typing import Annotated, Any

import typer
from rich.table import Table

from app.api.schemas.recommendations import RecommendationOut
from app.cli.channels import Channel
from app.cli.jobs import pairs
from app.cli.output import Shown, table
from app.cli.remote import remote
from app.client import Client

cli = typer.Typer()


@cli.command()
@remote
def recommend(
    client: Client,
    channel: Channel,
    user: Annotated[str | None, typer.Option(help="A user whose interactions were imported.")] = None,
    history: Annotated[
        str | None, typer.Option(help="Or item ids, oldest first, split by commas; or a JSON list of them.")
    ] = None,
    count: Annotated[int, typer.Option(min=1, help="How many items.")] = 10,
    filter: Annotated[  # noqa: A002 - the API's word
        str | None, typer.Option(help='JSON: {"colour": "red", "price": {"lt": 5}}.')
    ] = None,
    at_most: Annotated[
        list[str] | None, typer.Option(help="So many of one value of an attribute: brand=2; repeatable.")
    ] = None,
    exclude: Annotated[list[str] | None, typer.Option(help="An item to leave out; repeatable.")] = None,
    exclude_seen: Annotated[bool, typer.Option(help="Leave out what is in the history.")] = True,
) -> Shown:
    """Recommend items to a user, or after a history."""
    if (user is None) == (history is None):
        raise typer.BadParameter("Give one of --user and --history.")
    answer = client.recommend(
        channel,
        user_id=user,
        history=None if history is None else _item_ids(history),
        count=count,
        filter=_conditions(filter),
        at_most=pairs(at_most),
        exclude_item_ids=exclude or (),
        exclude_seen=exclude_seen,
    )
    nothing = "No item is left: none fits the filter, or all that fit were met or left out."
    return Shown(answer, _table(answer) if answer.items else nothing)


def _item_ids(text: str) -> list[str]:
    if text.startswith("["):
        found = _json(text, "--history")
        return [str(each) for each in found]
    return [each.strip() for each in text.split(",") if each.strip()]


def _conditions(text: str | None) -> dict[str, Any]:
    found = _json(text, "--filter") if text else {}
    if not isinstance(found, dict):
        raise typer.BadParameter("--filter is a JSON object of attributes.")
    return found


def _json(text: str, option: str) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        raise typer.BadParameter(f"{option} is not JSON: {error}.") from error


def _table(answer: RecommendationOut) -> Table:
    rows = [
        (rank, item.item_id, item.metadata.get("text"), item.score, item.reason)
        for rank, item in enumerate(answer.items, start=1)
    ]
    release = answer.release
    title = f"version {release.version} ({release.method}), {answer.variant}"
    return table(("", "item", "title", "score", "reason"), rows, title)
