"""Events: what users do, as it happens."""

import json
from collections.abc import Iterator
from typing import Annotated, Any

import typer

from app.api.schemas.events import EventsStored
from app.cli.channels import Channel
from app.cli.output import Shown, table
from app.cli.remote import remote
from app.client import Client

cli = typer.Typer(no_args_is_help=True, help="Events: what users do, as it happens.")
MOST = 1000  # of a request


@cli.command("send")
@remote
def send(
    client: Client,
    channel: Channel,
    file: Annotated[
        typer.FileText | None, typer.Argument(help="Events as JSON lines; - reads standard input.")
    ] = None,
    user: Annotated[str | None, typer.Option(help="Or one event: whose.")] = None,
    item: Annotated[str | None, typer.Option(help="And of which item.")] = None,
    recommendation: Annotated[str | None, typer.Option(help="The recommendation that was followed.")] = None,
) -> Shown:
    """Send events; each is stored by itself, and once however often it is sent."""
    if (file is None) == (user is None) or (user is None) != (item is None):
        raise typer.BadParameter("Give a file, or one event by --user and --item.")
    total = EventsStored(accepted=0, duplicates=0, rejected=[])
    events = _read(file) if file else iter([_event(user, item, recommendation)])
    for start, batch in _batches(events):
        stored = client.send_events(channel, batch)
        total.accepted += stored.accepted
        total.duplicates += stored.duplicates
        total.rejected += [each.model_copy(update={"index": start + each.index}) for each in stored.rejected]
    counts = f"{total.accepted:,} stored, {total.duplicates:,} were there already."
    if not total.rejected:
        return Shown(total, counts)
    bad = table(("index", "reason"), [(each.index, each.reason) for each in total.rejected])
    return Shown(total, bad, f"{len(total.rejected):,} events were not stored; {counts}")


def _event(user: str | None, item: str | None, recommendation: str | None) -> dict[str, Any]:
    event: dict[str, Any] = {"user_id": user, "item_id": item}
    return event | ({"recommendation_id": recommendation} if recommendation else {})


def _read(file: typer.FileText) -> Iterator[dict[str, Any]]:
    for number, line in enumerate(file, start=1):
        if not line.strip():
            continue
        try:
            event = json.loads(line)
        except ValueError as error:
            raise typer.BadParameter(f"Line {number} is not JSON: {error}.") from error
        if not isinstance(event, dict):
            raise typer.BadParameter(f"Line {number} is not a JSON object.")
        yield event


def _batches(events: Iterator[dict[str, Any]]) -> Iterator[tuple[int, list[dict[str, Any]]]]:
    """As many as a request takes, each with the place of its first."""
    start, batch = 0, []
    for event in events:
        batch.append(event)
        if len(batch) == MOST:
            yield start, batch
            start, batch = start + MOST, []
    if batch:
        yield start, batch
