"""Keys from the shell, straight in the database: the way in when no key works."""

from typing import Annotated

import typer

from app.api.schemas.tenants import KeyOut
from app.cli.output import Shown, show
from app.cli.remote import AsJson

cli = typer.Typer(no_args_is_help=True, help="API keys of the configured database, without a server.")
Tenant = Annotated[str | None, typer.Option(help="Whose; default: the platform operator's.")]
KeyId = Annotated[str, typer.Argument(help="The key's id, as `key list` shows it.")]


@cli.command("create")
def create_key(
    tenant: Annotated[str | None, typer.Option(help="Whose key; default: the platform operator's.")] = None,
    role: Annotated[str, typer.Option(help="reader, writer or operator.")] = "operator",
    label: Annotated[str, typer.Option(help="What the key is for.")] = "command line",
    as_json: AsJson = False,
) -> None:
    """Create a key and print its secret, which is shown this once."""
    from app import bootstrap
    from app.core.config import get_settings

    with bootstrap.migrated(get_settings()) as database:
        show(_secret(bootstrap.create_key(database, tenant, role, label)), as_json)


@cli.command("list")
def list_keys(tenant: Tenant = None, as_json: AsJson = False) -> None:
    """List keys without their secrets, a line each: id, role, label, until when."""
    from app import bootstrap
    from app.core.config import get_settings

    with bootstrap.migrated(get_settings()) as database:
        found = [KeyOut.model_validate(key) for key in bootstrap.list_keys(database, tenant)]
    show(Shown(found, "\n".join(line(key) for key in found)), as_json)


@cli.command("revoke")
def revoke_key(key: KeyId, tenant: Tenant = None) -> None:
    """Revoke a key: from now on every process refuses it."""
    from app import bootstrap
    from app.core.config import get_settings

    settings = get_settings()
    with bootstrap.migrated(settings) as database:
        bootstrap.revoke_key(database, settings, tenant, key)


@cli.command("rotate")
def rotate_key(
    key: KeyId,
    tenant: Tenant = None,
    grace_seconds: Annotated[
        int, typer.Option(min=0, max=30 * 86_400, help="How long the old key works on.")
    ] = 0,
    as_json: AsJson = False,
) -> None:
    """Make a new key in place of an old one and print its secret, which is shown this once."""
    from app import bootstrap
    from app.core.config import get_settings

    settings = get_settings()
    with bootstrap.migrated(settings) as database:
        show(_secret(bootstrap.rotate_key(database, settings, tenant, key, grace_seconds)), as_json)


def line(key: KeyOut) -> str:
    """What is shown of a key."""
    ends = f"until {key.expires_at:%Y-%m-%d %H:%M}" if key.expires_at else "valid"
    return f"{key.id}  {key.role:<8}  {'revoked' if key.revoked_at else ends}  {key.label}"


def _secret(secret: str) -> Shown:
    return Shown({"secret": secret}, secret)
