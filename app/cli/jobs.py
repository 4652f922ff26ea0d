"""Training: start a job, follow it, cancel it."""

import json
from typing import Annotated, Any, Literal

import typer
from rich.table import Table

from app.api.schemas.jobs import FitOptions, JobOut
from app.cli.channels import Channel
from app.cli.output import Shown, facts, table
from app.cli.progress import followed, line_of
from app.cli.remote import remote
from app.client import Client
from app.core.rollout import Plan
from app.model.methods import AdapterConfig

training = typer.Typer()
cli = typer.Typer(no_args_is_help=True, help="Training jobs.")
JobId = Annotated[str, typer.Argument(help="The job's id, as `job list` shows it.")]
_KNOBS = "All knobs: " + ", ".join(name for name in AdapterConfig.model_fields if name != "method")
_FIT = "All: " + ", ".join(FitOptions.model_fields)
INTERRUPTED = 130  # the exit status of what Ctrl-C has ended


@training.command()
@remote
def train(
    client: Client,
    channel: Channel,
    method: Annotated[
        str | None, typer.Option(help="houlsby, lora, ...: see docs/adapters.md; else what is recommended.")
    ] = None,
    knob: Annotated[
        list[str] | None, typer.Option(help=f"A knob of it, bottleneck=32; repeatable. {_KNOBS}.")
    ] = None,
    fit: Annotated[list[str] | None, typer.Option(help=f"How, max_epochs=5; repeatable. {_FIT}.")] = None,
    warmup_epochs: Annotated[int, typer.Option(min=0, help="First epochs on cached encoder states.")] = 10,
    promote: Annotated[bool, typer.Option(help="Make it champion when it passes the gate.")] = True,
    share: Annotated[
        float, typer.Option(min=0, max=1, help="Make it challenger instead, of this share.")
    ] = 0,
    shadow: Annotated[bool, typer.Option("--shadow", help="Make it challenger instead, unseen.")] = False,
    priority: Annotated[
        Literal["low", "normal", "high"], typer.Option(help="Among the tenant's own jobs.")
    ] = "normal",
    wait: Annotated[bool, typer.Option(help="Follow it to its end; Ctrl-C leaves it running.")] = True,
) -> Shown:
    """Train an adapter; what passes the quality gate becomes champion. Exit status 1 unless it does pass."""
    job = client.train(
        channel,
        method,
        knobs=pairs(knob),
        fit=pairs(fit),
        warmup_epochs=warmup_epochs,
        promote=promote,
        priority=priority,
        as_challenger=Plan(share=share, shadow=shadow) if share or shadow else None,
    )
    if not wait:
        return Shown(
            job, f"Job {job.id} waits for a worker. Follow it: {_command('show --follow', channel, job)}"
        )
    return _to_its_end(client, channel, job)


@cli.command("list")
@remote
def list_jobs(client: Client, channel: Channel) -> Shown:
    """List a channel's training jobs, newest first."""
    found = client.jobs(channel)
    rows = [
        (each.id, each.state, _method(each), each.adapter_version, each.created_at, line_of(each))
        for each in found
    ]
    return Shown(found, table(("job", "state", "method", "version", "created", "progress"), rows))


@cli.command("show")
@remote
def show_job(
    client: Client,
    channel: Channel,
    job_id: JobId,
    follow: Annotated[bool, typer.Option("--follow", help="Until it has ended.")] = False,
) -> Shown:
    """Show a training job."""
    job = client.job(channel, job_id)
    return _to_its_end(client, channel, job) if follow else Shown(job, _described(job))


@cli.command("cancel")
@remote
def cancel_job(client: Client, channel: Channel, job_id: JobId) -> Shown:
    """Cancel a waiting job at once, or ask the worker of a running one to stop."""
    job = client.cancel_job(channel, job_id)
    return Shown(job, f"Job {job.id}: {'it will be cancelled' if job.finished_at is None else job.state}.")


def pairs(given: list[str] | None) -> dict[str, Any]:
    """`["rank=8", "encoders=both"]` as names and values: JSON where it is that, else text.

    Raises `typer.BadParameter` for one without a name.
    """
    found = {}
    for each in given or []:
        name, equals, text = each.partition("=")
        if not (name and equals):
            raise typer.BadParameter(f"{each!r} is not NAME=VALUE.")
        try:
            found[name] = json.loads(text)
        except ValueError:
            found[name] = text
    return found


def _to_its_end(client: Client, channel: str, job: JobOut) -> Shown:
    try:
        ended = followed(client, channel, job.id)
    except KeyboardInterrupt:
        typer.echo(f"Job {job.id} goes on. Follow it: {_command('show --follow', channel, job)}", err=True)
        typer.echo(f"Cancel it: {_command('cancel', channel, job)}", err=True)
        raise typer.Exit(INTERRUPTED) from None
    failed = "" if ended.state == "SUCCEEDED" else f"The job ended as {ended.state}. {_why(ended)}".strip()
    return Shown(ended, _described(ended), failed)


def _described(job: JobOut) -> Table:
    return facts(
        {
            "job": job.id,
            "state": job.state,
            "method": _method(job),
            "priority": job.priority,
            "progress": line_of(job) or job.progress.get("phase"),
            "version": job.adapter_version,
            "gate": job.result.get("gate", {}).get("reason"),
            "error": job.error,
            "created": job.created_at,
            "started": job.started_at,
            "finished": job.finished_at,
        }
    )


def _method(job: JobOut) -> str:
    return str(job.config.get("adapter", {}).get("method", "houlsby"))


def _why(job: JobOut) -> str:
    return job.error or str(job.result.get("gate", {}).get("reason", ""))


def _command(verb: str, channel: str, job: JobOut) -> str:
    return f"transrec job {verb} {channel} {job.id}"
