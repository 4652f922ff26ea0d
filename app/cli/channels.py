"""Channels."""

from typing import Annotated

import typer

from app.cli.output import Shown, facts, table
from app.cli.remote import remote
from app.cli.tenants import Yes
from app.client import Client
from app.core.names import Modality

cli = typer.Typer(no_args_is_help=True, help="Channels: a catalogue with its users and adapters each.")
Channel = Annotated[str, typer.Argument(help="The channel's name.")]


@cli.command("create")
@remote
def create_channel(
    client: Client,
    channel: Channel,
    description: Annotated[str, typer.Option(help="What it is for.")] = "",
    modality: Annotated[Modality, typer.Option(help="What of an item is encoded.")] = "text",
) -> Shown:
    """Create a channel; the bare backbone answers for it at once."""
    made = client.create_channel(channel, description, modality)
    return Shown(made, f"Channel {made.name} is made. Fill it: transrec import items {made.name} FILE")


@cli.command("list")
@remote
def list_channels(client: Client) -> Shown:
    """List the tenant's channels."""
    found = client.channels()
    rows = [(each.name, each.modality, each.description, each.created_at) for each in found]
    return Shown(found, table(("channel", "modality", "description", "created"), rows))


@cli.command("show")
@remote
def show_channel(client: Client, channel: Channel) -> Shown:
    """Show a channel: its counts, its champion and challenger, what the server answers with."""
    found = client.channel(channel)
    serving, trial = found.serving, found.challenger
    pairs: dict[str, object] = {
        "channel": found.name,
        "description": found.description,
        "modality": found.modality,
        "items": found.items,
        "images": found.images,
        "interactions": found.interactions,
        "champion": f"version {found.champion.version}, {found.champion.method}",
        "challenger": trial and f"version {trial.version}, {trial.method}, share {trial.share:g}",
        "serving": serving.release and f"version {serving.release.version}, generation {serving.generation}",
        "index": serving.index and f"{serving.index.kind}, recall {serving.index.recall:g}",
        "failure": serving.failure or serving.challenger_failure,
    }
    return Shown(found, facts(pairs))


@cli.command("delete")
@remote
def delete_channel(client: Client, channel: Channel, yes: Yes = False) -> Shown:
    """Delete a channel with all that is in it."""
    client.channel(channel)  # a misspelt name is told before the question
    if not yes:
        typer.confirm(f"Delete channel {channel} with all that is in it?", abort=True, err=True)
    client.delete_channel(channel)
    return Shown({"deleted": channel}, f"Channel {channel} is deleted.")
