"""Tenants, their limits and keys, through a server."""

from typing import Annotated, Literal

import typer
from rich.console import Group

from app.cli.output import Shown, facts, plain, table
from app.cli.remote import remote
from app.client import Client

cli = typer.Typer(no_args_is_help=True, help="Tenants, their limits and their keys.")
keys = typer.Typer(no_args_is_help=True, help="A tenant's API keys, through a server.")
cli.add_typer(keys, name="key")
Name = Annotated[str, typer.Argument(help="The tenant's name.")]
KeyId = Annotated[str, typer.Argument(help="The key's id, as `tenant key list` shows it.")]
Yes = Annotated[bool, typer.Option("--yes", help="Do not ask.")]
Limit = Annotated[
    int | None, typer.Option(min=-1, help="0: any number; -1: back to the default; left out, it stays.")
]


@cli.command("create")
@remote
def create_tenant(client: Client, name: Name) -> Shown:
    """Create a tenant."""
    made = client.create_tenant(name)
    return Shown(made, f"Tenant {made.name} is made. Its first key: transrec tenant key create {made.name}")


@cli.command("list")
@remote
def list_tenants(client: Client) -> Shown:
    """List the tenants."""
    found = client.tenants()
    rows = [(each.name, each.channels, each.keys, each.created_at) for each in found]
    return Shown(found, table(("tenant", "channels", "keys", "created"), rows))


@cli.command("show")
@remote
def show_tenant(client: Client, name: Name) -> Shown:
    """Show a tenant: what it has, and the most that it may have."""
    return _detail(client, name)


@cli.command("limits")
@remote
def limits(
    client: Client,
    name: Name,
    channels: Limit = None,
    items: Limit = None,
    interactions: Limit = None,
    jobs: Limit = None,
    bytes: Limit = None,  # noqa: A002 - the API's word
    requests_per_second: Limit = None,
) -> Shown:
    """Change a tenant's limits, or show them."""
    asked = {
        "channels": channels,
        "items": items,
        "interactions": interactions,
        "jobs": jobs,
        "bytes": bytes,
        "requests_per_second": requests_per_second,
    }
    given = {limit: None if value == -1 else value for limit, value in asked.items() if value is not None}
    if given:
        client.set_limits(name, given)
    return _detail(client, name)


@cli.command("delete")
@remote
def delete_tenant(client: Client, name: Name, yes: Yes = False) -> Shown:
    """Delete a tenant with its keys, its channels and all that is in them."""
    client.tenant(name)  # a misspelt name is told before the question
    if not yes:
        typer.confirm(f"Delete tenant {name} with all its channels?", abort=True, err=True)
    client.delete_tenant(name)
    return Shown({"deleted": name}, f"Tenant {name} is deleted.")


@keys.command("create")
@remote
def create_key(
    client: Client,
    name: Name,
    role: Annotated[Literal["reader", "writer", "operator"], typer.Option(help="What it may do.")] = "reader",
    label: Annotated[str, typer.Option(help="What the key is for.")] = "",
) -> Shown:
    """Create a key and print its secret, which is shown this once."""
    made = client.create_key(name, role, label)
    return Shown(made, made.secret)


@keys.command("list")
@remote
def list_keys(client: Client, name: Name) -> Shown:
    """List keys without their secrets."""
    found = client.keys(name)
    columns = ("id", "role", "label", "begins with", "ends", "revoked")
    rows = [(k.id, k.role, k.label, k.prefix, k.expires_at, k.revoked_at) for k in found]
    return Shown(found, table(columns, rows))


@keys.command("revoke")
@remote
def revoke_key(client: Client, name: Name, key_id: KeyId) -> Shown:
    """Revoke a key: from now on it is refused."""
    return Shown(client.revoke_key(name, key_id), f"Key {key_id} is revoked.")


@keys.command("rotate")
@remote
def rotate_key(
    client: Client,
    name: Name,
    key_id: KeyId,
    grace_seconds: Annotated[int, typer.Option(min=0, help="How long the old key works on.")] = 0,
) -> Shown:
    """Make a new key in place of an old one and print its secret, which is shown this once."""
    made = client.rotate_key(name, key_id, grace_seconds)
    return Shown(made, made.secret)


def _detail(client: Client, name: str) -> Shown:
    found = client.tenant(name)
    usage, most = found.usage.model_dump(), found.limits.model_dump()
    rows = [
        (
            limit,
            usage.get(limit),
            most[limit] or "any number",
            "own" if limit in found.overrides else "default",
        )
        for limit in most
    ]
    head = facts({"tenant": found.name, "id": found.id, "created": found.created_at})
    return Shown(found, Group(head, plain(""), table(("limit", "used", "most", "whose"), rows)))
