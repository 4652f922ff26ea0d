"""The `transrec` command. Commands of other packages join by the entry-point group `transrec.commands`."""

import json
import os
import sys
from contextlib import ExitStack
from importlib import metadata
from typing import Annotated

import typer

from app.core.errors import Invalid, TransRecError

# Heavy imports (torch, SQLAlchemy) stay inside the commands: `transrec --help` answers at once.

cli = typer.Typer(no_args_is_help=True, pretty_exceptions_enable=False, help="TransRec Serve.")
keys = typer.Typer(no_args_is_help=True, help="API keys, from the shell.")
cli.add_typer(keys, name="key")


def main() -> None:
    """Run the command line; an expected error is one line on stderr and exit status 1."""
    for entry in metadata.entry_points(group="transrec.commands"):
        cli.add_typer(entry.load())
    try:
        cli()
    except TransRecError as error:
        typer.echo(f"Error: {error.message}", err=True)
        sys.exit(1)


@cli.command()
def params(
    encoder: Annotated[str, typer.Option(help="bert-base, roberta-base, minilm, or a folder.")] = "minilm",
    method: Annotated[str, typer.Option(help="Adapter method.")] = "houlsby",
    bottleneck: Annotated[int, typer.Option(help="Width inside the item encoder; 0: none.")] = 64,
    user_bottleneck: Annotated[int, typer.Option(help="Width inside the user encoder; 0: none.")] = 16,
    tune_layer_norm: Annotated[bool, typer.Option(help="Own copies of every LayerNorm.")] = True,
    tune_dtl: Annotated[bool, typer.Option(help="Own copy of the DTL.")] = False,
    popularity_prior: Annotated[bool, typer.Option(help="The one number of our popularity prior.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")] = False,
) -> None:
    """Count trainable parameters exactly, beside those of full fine-tuning; loads no weights."""
    from pydantic import ValidationError

    from app.model.adapters import AdapterConfig
    from app.model.counts import count_parameters

    asked = {
        "method": method,
        "bottleneck": bottleneck,
        "user_bottleneck": user_bottleneck,
        "tune_layer_norm": tune_layer_norm,
        "tune_dtl": tune_dtl,
        "popularity_prior": popularity_prior,
    }
    try:
        config = AdapterConfig.model_validate(asked)
    except ValidationError as error:
        wrong = "; ".join(f"{e['loc'][0]}: {e['msg']}" for e in error.errors())
        raise Invalid(f"The adapter cannot be made: {wrong}. Correct the option.") from error
    counted = count_parameters(encoder, config)
    counted = {"trainable": counted["trainable"], "full": counted["full"]} | counted
    if as_json:
        typer.echo(json.dumps(counted))
        return
    typer.echo(f"{counted['trainable']:,} trainable of {counted['full']:,} ({counted['share']:.2%})")


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
    from app.core.valkey import bundled_valkey

    settings = get_settings()
    log.configure(settings.log_level)
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


@keys.command("create")
def create_key(
    tenant: Annotated[str | None, typer.Option(help="Whose key; default: the platform operator's.")] = None,
    role: Annotated[str, typer.Option(help="reader, writer or operator.")] = "operator",
    label: Annotated[str, typer.Option(help="What the key is for.")] = "command line",
) -> None:
    """Create a key and print its secret, which is shown this once."""
    from app import bootstrap
    from app.core.config import get_settings

    with bootstrap.migrated(get_settings()) as database:
        typer.echo(bootstrap.create_key(database, tenant, role, label))


@cli.command()
def version() -> None:
    """Print the version."""
    typer.echo(metadata.version("transrec-serve"))


if __name__ == "__main__":
    main()
