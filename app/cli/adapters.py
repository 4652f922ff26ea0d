"""Adapters and releases: through a server, and as files of AdapterHub's library on this machine."""

from pathlib import Path
from typing import Annotated, Any

import typer

from app.api.schemas.releases import ReleaseOut
from app.api.schemas.rollouts import RolloutOut
from app.cli.channels import Channel
from app.cli.imports import File
from app.cli.output import Shown, facts, table
from app.cli.progress import uploading
from app.cli.remote import remote
from app.client import Client, ClientError
from app.core.rollout import Guard, Rule

cli = typer.Typer(no_args_is_help=True, help="Adapters: versions of a channel, and files.")
challenger = typer.Typer(no_args_is_help=True, help="A version that is tried beside the champion.")
cli.add_typer(challenger, name="challenger")
Version = Annotated[int, typer.Argument(min=0, help="The version; 0 is the bare backbone.")]
Reason = Annotated[str, typer.Option(help="Why; it is kept in the history.")]
Expected = Annotated[
    int | None, typer.Option("--expected", min=0, help="Refuse unless this version is it now.")
]


@cli.command("list")
@remote
def list_adapters(client: Client, channel: Channel) -> Shown:
    """List the versions, newest first, with their HR@10 on the test split beside popularity's."""
    return _releases(client.releases(channel))


@cli.command("register")
@remote
def register(client: Client, channel: Channel, file: File) -> Shown:
    """Upload an adapter, a safetensors file, as a new version."""
    with uploading(file.name) as on_progress:
        made = client.upload_adapter(channel, file, on_progress)
    promote = f"transrec adapter promote {channel} {made.version}"
    return Shown(made, f"Version {made.version} ({made.method}) is stored. To use it: {promote}")


@cli.command("promote")
@remote
def promote(
    client: Client,
    channel: Channel,
    version: Version,
    reason: Reason = "",
    expected: Expected = None,
    guard_hours: Annotated[
        float | None, typer.Option(help="Roll back by itself if it does worse within so many hours.")
    ] = None,
) -> Shown:
    """Make a version the champion."""
    guard = None if guard_hours is None else Guard(hours=guard_hours)
    return _releases(client.promote(channel, version, reason=reason, expected_current=expected, guard=guard))


@cli.command("rollback")
@remote
def rollback(client: Client, channel: Channel, reason: Reason = "", expected: Expected = None) -> Shown:
    """Return to the champion before this one."""
    return _releases(client.rollback(channel, reason=reason, expected_current=expected))


@cli.command("export")
@remote
def export(
    client: Client,
    channel: Channel,
    version: Annotated[int, typer.Argument(min=1, help="The version.")],
    out: Annotated[
        Path | None, typer.Option(help="The file to write; else CHANNEL-vVERSION.safetensors.")
    ] = None,
) -> Shown:
    """Download a version's weights as a file that can be registered again."""
    weights = client.download_adapter(channel, version)
    path = out or Path(f"{channel}-v{version}.safetensors")
    try:
        path.write_bytes(weights)
    except OSError as error:
        raise ClientError(
            f"{path} cannot be written: {error.strerror}. Name another file by --out."
        ) from error
    return Shown({"file": str(path), "bytes": len(weights)}, f"{path}: {len(weights):,} bytes")


@challenger.command("show")
@remote
def show_challenger(client: Client, channel: Channel) -> Shown:
    """Show the challenger: how it is tried, and what that has shown."""
    return _rollout(client.rollout(channel))


@challenger.command("set")
@remote
def set_challenger(
    client: Client,
    channel: Channel,
    version: Version,
    share: Annotated[float, typer.Option(min=0, max=1, help="Share of the users that it answers.")] = 0,
    shadow: Annotated[bool, typer.Option("--shadow", help="Ask it behind the champion's answers.")] = False,
    rule: Annotated[bool, typer.Option("--rule", help="Take it back by itself if it does worse.")] = False,
    reason: Reason = "",
    expected: Expected = None,
) -> Shown:
    """Try a version on a share of the users, in the shadow, or both; or change how it is tried."""
    return _rollout(
        client.set_challenger(
            channel,
            version,
            share=share,
            shadow=shadow,
            rule=Rule() if rule else None,
            reason=reason,
            expected_current="any" if expected is None else expected,
        )
    )


@challenger.command("remove")
@remote
def remove_challenger(
    client: Client, channel: Channel, reason: Reason = "", expected: Expected = None
) -> Shown:
    """Take the challenger back; the champion answers all users again."""
    client.withdraw_challenger(channel, reason=reason, expected_current=expected)
    return Shown({"removed": channel}, f"Channel {channel} has no challenger now.")


def _releases(found: list[ReleaseOut]) -> Shown:
    rows = [
        (each.version, each.method, _role(each), *_hr10(each.metrics), each.source, each.created_at)
        for each in found
    ]
    columns = ("version", "method", "is", "HR@10", "popularity's", "source", "created")
    return Shown(found, table(columns, rows))


def _role(release: ReleaseOut) -> str:
    return "champion" if release.champion else "challenger" if release.challenger else ""


def _hr10(metrics: dict[str, Any]) -> tuple[float | None, float | None]:
    test = metrics.get("test", {})
    return test.get("adapter", {}).get("hr10"), test.get("popularity", {}).get("hr10")


def _rollout(found: RolloutOut) -> Shown:
    pairs: dict[str, object] = {
        "version": found.version,
        "share": f"{found.share:g}",
        "shadow": found.shadow,
        "rule": found.rule is not None,
        "since": found.started_at,
    }
    for side, rate in found.online.items():
        pairs[f"{side}'s clicks"] = f"{rate.clicked:,} of {rate.recommendations:,} recommendations"
    if found.compared.queries:
        pairs["overlap in the shadow"] = found.compared.overlap
    return Shown(found, facts(pairs))


@cli.command("import-hub")
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


@cli.command("export-hub")
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
