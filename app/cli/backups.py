"""Back-ups of the configured database."""

from pathlib import Path
from typing import Annotated

import typer

cli = typer.Typer()


@cli.command()
def backup(
    file: Annotated[Path, typer.Argument(help="The file to write; one that is there is replaced.")],
    tenant: Annotated[str | None, typer.Option(help="One tenant; default: all, with the platform.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="The manifest as JSON on stdout.")] = False,
) -> None:
    """Back up a tenant, or all, while the service runs: one snapshot, in a file for either database."""
    from app import backups
    from app.core.config import get_settings

    typer.echo(backups.described(backups.write(get_settings(), file, tenant), as_json))


@cli.command()
def restore(
    file: Annotated[
        Path, typer.Argument(exists=True, dir_okay=False, help="A file that `transrec backup` wrote.")
    ],
    tenant: Annotated[str | None, typer.Option(help="Another name for its tenant.")] = None,
    replace: Annotated[bool, typer.Option("--replace", help="Delete what is there under that name.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="The manifest as JSON on stdout.")] = False,
) -> None:
    """Bring back what a back-up holds, all of it or nothing; a running service answers from it by itself."""
    from app import backups
    from app.core.config import get_settings

    typer.echo(backups.described(backups.restore(get_settings(), file, tenant, replace), as_json))
