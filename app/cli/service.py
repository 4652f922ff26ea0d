"""Commands that run the service on this machine."""

import os
import sys
from contextlib import ExitStack
from importlib import metadata
from typing import Annotated

import typer

from app.cli.output import Shown, show
from app.cli.remote import AsJson

cli = typer.Typer()


@cli.command()
def serve(
    host: Annotated[str | None, typer.Option(help="Address; default: TRANSREC_HOST.")] = None,
    port: Annotated[int | None, typer.Option(help="Port, 0 for a free one; default: TRANSREC_PORT.")] = None,
    workers: Annotated[int, typer.Option(min=1, help="API processes; each loads the model.")] = 1,
    worker: Annotated[bool, typer.Option(help="Run a training worker beside the API.")] = True,
) -> None:
    """Run everything: Valkey unless a Redis is configured, the schema, a training worker, the API."""
    from app import bootstrap, processes
    from app.core import log
    from app.core.config import get_settings
    from app.core.traces import check_endpoint
    from app.core.valkey import bundled_valkey

    settings = get_settings()
    log.configure(settings.log_level)
    check_endpoint(settings.otlp_endpoint)  # here, not in each of several processes
    host, port = host or settings.host, settings.port if port is None else port
    with processes.stopped_by_signals(), ExitStack() as running:
        listening = running.enter_context(processes.listen(host, port))
        running.enter_context(bundled_valkey(settings))
        with bootstrap.migrated(settings) as database:
            secret = bootstrap.first_operator_key(database, settings)
        if secret:
            typer.echo(f"Operator key, shown this once: {secret}")
            typer.echo(f"It is kept in {bootstrap.key_file(settings)}, readable by you alone.")
        if worker:
            running.enter_context(processes.kept_running(processes.WORKER))
        shown = f"[{host}]" if ":" in host else host
        typer.echo(f"TransRec Serve on http://{shown}:{listening.getsockname()[1]} (routes at /docs)")
        sys.stdout.flush()
        processes.serve_http(listening, workers)


@cli.command()
def worker() -> None:
    """Run a training worker in the foreground, until SIGTERM or Ctrl-C."""
    from app.processes import WORKER

    os.execv(WORKER[0], WORKER)  # noqa: S606 - replaces this process, so signals reach the worker itself


@cli.command()
def migrate() -> None:
    """Bring the database's schema to the newest version; harmless when it is there."""
    from app import bootstrap
    from app.core.config import get_settings

    settings = get_settings()
    with bootstrap.migrated(settings):
        typer.echo(f"The schema is up to date: {bootstrap.public_url(settings)}")


@cli.command()
def version(as_json: AsJson = False) -> None:
    """Print the version."""
    found = metadata.version("transrec-serve")
    show(Shown({"version": found}, found), as_json)
