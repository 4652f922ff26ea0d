"""The `transrec` command, a file a noun. Other packages join by the entry-point group `transrec.commands`.

Two kinds: commands of this machine (`serve`, `worker`, `migrate`, `key`, `backup`, ...), which need the
extra `serve`, and those that ask a server through `app.client`: `remote` makes a command one of these.
"""

# Heavy imports (torch, SQLAlchemy) stay inside the commands: `transrec --help` answers at once.

import sys
from importlib import metadata

import typer

from app.cli import (
    adapters,
    audit,
    backups,
    channels,
    evaluate,
    events,
    imports,
    jobs,
    keys,
    params,
    recommend,
    service,
    status,
    tenants,
)
from app.cli.errors import EXPECTED, said

cli = typer.Typer(no_args_is_help=True, pretty_exceptions_enable=False, help="TransRec Serve.")
for alone in (service, backups, params, status, recommend, evaluate, audit):
    cli.add_typer(alone.cli)
cli.add_typer(jobs.training)
for name, group in {
    "tenant": tenants.cli,
    "channel": channels.cli,
    "import": imports.cli,
    "job": jobs.cli,
    "adapter": adapters.cli,
    "events": events.cli,
    "key": keys.cli,
}.items():
    cli.add_typer(group, name=name)


def main() -> None:
    """Run the command line; an expected error is one line on stderr and exit status 1."""
    for entry in metadata.entry_points(group="transrec.commands"):
        cli.add_typer(entry.load())
    try:
        cli()
    except EXPECTED as error:
        typer.echo(f"Error: {said(error)}", err=True)
        sys.exit(1)
