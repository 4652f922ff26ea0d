"""The `transrec` command. Commands of other packages join by the entry-point group `transrec.commands`."""

import json
import os
import sys
from contextlib import ExitStack
from importlib import metadata
from pathlib import Path
from typing import Annotated, Any

import typer

from app.core.errors import TransRecError

# Heavy imports (torch, SQLAlchemy) stay inside the commands: `transrec --help` answers at once.

cli = typer.Typer(no_args_is_help=True, pretty_exceptions_enable=False, help="TransRec Serve.")
keys = typer.Typer(no_args_is_help=True, help="API keys, from the shell.")
cli.add_typer(keys, name="key")
files = typer.Typer(no_args_is_help=True, help="Adapter files, from and to AdapterHub's `adapters` library.")
cli.add_typer(files, name="adapter")


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
    encoder: Annotated[str, typer.Option(help="bert-base, vit-base, minilm, ..., or a folder.")] = "minilm",
    method: Annotated[str, typer.Option(help="Adapter method.")] = "houlsby",
    encoders: Annotated[str | None, typer.Option(help="Adapt both, item or user encoder.")] = None,
    position: Annotated[str | None, typer.Option(help="Compacter: both, mha or ffn.")] = None,
    placement: Annotated[str | None, typer.Option(help="serial, parallel or after_norm.")] = None,
    bottleneck: Annotated[int | None, typer.Option(help="Width inside the item encoder.")] = None,
    user_bottleneck: Annotated[int | None, typer.Option(help="Width inside the user encoder.")] = None,
    tokens: Annotated[int | None, typer.Option(help="Learned tokens of prompt and vpt.")] = None,
    rank: Annotated[int | None, typer.Option(help="Rank of lora.")] = None,
    top_layers: Annotated[int | None, typer.Option(help="The item encoder's top layers only.")] = None,
    tune_layer_norm: Annotated[bool | None, typer.Option(help="Own copies of LayerNorms.")] = None,
    tune_dtl: Annotated[bool | None, typer.Option(help="Own copy of the DTL.")] = None,
    popularity_prior: Annotated[bool, typer.Option(help="The one number of our popularity prior.")] = False,
    table: Annotated[bool, typer.Option("--table", help="All methods on bert-base and vit-base.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="JSON on stdout.")] = False,
) -> None:
    """Count trainable parameters exactly, beside those of full fine-tuning; loads no weights.

    What is left out is as published.
    """
    from app.model.counts import count_parameters, paper_table
    from app.model.methods import asked_for

    knobs = {
        "encoders": encoders,
        "position": position,
        "placement": placement,
        "bottleneck": bottleneck,
        "user_bottleneck": user_bottleneck,
        "tokens": tokens,
        "rank": rank,
        "top_layers": top_layers,
        "tune_layer_norm": tune_layer_norm,
        "tune_dtl": tune_dtl,
    }
    if table:
        rows = paper_table()
        typer.echo(json.dumps(rows) if as_json else "\n".join(_table_row(row) for row in rows))
        return
    counted = count_parameters(encoder, asked_for(method, knobs, popularity_prior))
    typer.echo(json.dumps(counted) if as_json else _counted(counted))


def _counted(counted: dict[str, Any]) -> str:
    return f"{counted['trainable']:,} trainable of {counted['full']:,} ({counted['share']:.2%})"


def _table_row(row: dict[str, Any]) -> str:
    cells = [f"{_counted(v) if v else '-':<46}" for k, v in row.items() if k != "name"]
    return f"{row['name']:<28}" + "".join(cells).rstrip()


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


Tenant = Annotated[str | None, typer.Option(help="Whose; default: the platform operator's.")]
KeyId = Annotated[str, typer.Argument(help="The key's id, as `key list` shows it.")]


@keys.command("list")
def list_keys(tenant: Tenant = None) -> None:
    """List keys without their secrets, a line each: id, role, label, until when."""
    from app import bootstrap
    from app.core.config import get_settings

    with bootstrap.migrated(get_settings()) as database:
        for key in bootstrap.list_keys(database, tenant):
            ends = f"until {key.expires_at:%Y-%m-%d %H:%M}" if key.expires_at else "valid"
            typer.echo(f"{key.id}  {key.role:<8}  {'revoked' if key.revoked_at else ends}  {key.label}")


@keys.command("revoke")
def revoke_key(key: KeyId, tenant: Tenant = None) -> None:
    """Revoke a key: from now on every process refuses it."""
    from app import bootstrap
    from app.core.config import get_settings

    settings = get_settings()
    with bootstrap.migrated(settings) as database:
        bootstrap.revoke_key(database, settings, tenant, key)


@keys.command("rotate")
def rotate_key(
    key: KeyId,
    tenant: Tenant = None,
    grace_seconds: Annotated[
        int, typer.Option(min=0, max=30 * 86_400, help="How long the old key works on.")
    ] = 0,
) -> None:
    """Make a new key in place of an old one and print its secret, which is shown this once."""
    from app import bootstrap
    from app.core.config import get_settings

    settings = get_settings()
    with bootstrap.migrated(settings) as database:
        typer.echo(bootstrap.rotate_key(database, settings, tenant, key, grace_seconds))


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
    file: Annotated[Path, typer.Argument(help="A file that `transrec backup` wrote.")],
    tenant: Annotated[str | None, typer.Option(help="Another name for its tenant.")] = None,
    replace: Annotated[bool, typer.Option("--replace", help="Delete what is there under that name.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="The manifest as JSON on stdout.")] = False,
) -> None:
    """Bring back what a back-up holds, all of it or nothing; a running service answers from it by itself."""
    from app import backups
    from app.core.config import get_settings

    typer.echo(backups.described(backups.restore(get_settings(), file, tenant, replace), as_json))


@files.command("import-hub")
def import_hub(
    checkpoint: Annotated[Path, typer.Argument(help="Folder that the library's save_adapter wrote.")],
    out: Annotated[Path, typer.Option(help="The safetensors file to write; upload it to a channel.")],
    backbone: Annotated[str, typer.Option(help="The backbone that it is for.")] = "minilm-transrec",
) -> None:
    """Turn an AdapterHub checkpoint into an adapter of this service.

    A checkpoint does not say on which weights it was trained: shapes are checked, that is not.
    """
    from app.model.interchange import import_hub as run

    config = run(checkpoint, out, backbone)
    typer.echo(f"{out}: {config.method}, bottleneck {config.bottleneck}")


@files.command("export-hub")
def export_hub(
    file: Annotated[Path, typer.Argument(help="An adapter of this service, as it is downloaded.")],
    out: Annotated[Path, typer.Option(help="The folder to write.")],
    name: Annotated[str, typer.Option(help="The adapter's name in the library.")] = "transrec",
    backbone: Annotated[str, typer.Option(help="The backbone that it is for.")] = "minilm-transrec",
) -> None:
    """Turn an adapter of this service into an AdapterHub checkpoint."""
    from app.model.interchange import export_hub as run

    run(file, out, name, backbone)
    typer.echo(f"{out}: load it with load_adapter(..., use_safetensors=True)")


@cli.command()
def version() -> None:
    """Print the version."""
    typer.echo(metadata.version("transrec-serve"))


if __name__ == "__main__":
    main()
