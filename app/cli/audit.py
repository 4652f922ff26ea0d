"""The audit log."""

import json
from typing import Annotated

import typer

from app.cli.output import Shown, table
from app.cli.remote import remote
from app.client import Client

cli = typer.Typer()


@cli.command()
@remote
def audit(
    client: Client,
    channel: Annotated[str | None, typer.Option(help="Acts on this channel only.")] = None,
    action: Annotated[str | None, typer.Option(help="Acts of this name only, such as promote.")] = None,
    before: Annotated[int | None, typer.Option(min=1, help="Ids below this one: the next page.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="How many.")] = 20,
) -> Shown:
    """Show who did what, newest first."""
    found = client.audit(channel=channel, action=action, before=before, limit=limit)
    columns = ("id", "at", "who", "action", "channel", "status", "detail")
    rows = [
        (str(e.id), e.at, e.actor_label or e.actor, e.action, e.channel, e.status, json.dumps(e.detail))
        for e in found
    ]
    return Shown(found, table(columns, rows))
