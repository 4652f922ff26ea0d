"""Imports, with a bar while the file is sent."""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Group

from app.api.schemas.imports import ImportReportOut
from app.cli.channels import Channel
from app.cli.output import Shown, plain, table
from app.cli.progress import uploading
from app.cli.remote import remote
from app.client import ApiError, Client
from app.client.upload import OnProgress, format_of

cli = typer.Typer(no_args_is_help=True, help="Imports: a file lands whole or, with any bad line, not at all.")
MOST_LINES = 20  # bad lines that are shown; --json has all that the report has
File = Annotated[Path, typer.Argument(exists=True, dir_okay=False, readable=True, help="The file to send.")]
RowFormat = Annotated[str | None, typer.Option(help="csv, jsonl or parquet; else what the name ends in.")]
ArchiveFormat = Annotated[str | None, typer.Option(help="zip or tar; else what the name ends in.")]


@cli.command("items")
@remote
def items(client: Client, channel: Channel, file: File, format: RowFormat = None) -> Shown:  # noqa: A002
    """Import items: `item_id`, `text` or `title`, any further attributes (csv, jsonl, parquet)."""
    return _sent(client.import_items, channel, file, format)


@cli.command("interactions")
@remote
def interactions(client: Client, channel: Channel, file: File, format: RowFormat = None) -> Shown:  # noqa: A002
    """Import interactions: `user_id`, `item_id`, `timestamp` (csv, jsonl, parquet)."""
    return _sent(client.import_interactions, channel, file, format)


@cli.command("images")
@remote
def images(client: Client, channel: Channel, file: File, format: ArchiveFormat = None) -> Shown:  # noqa: A002
    """Import images: files named `{item_id}.jpg`, `.png` or `.webp` (zip, tar)."""
    return _sent(client.import_images, channel, file, format)


def _sent(
    send: Callable[[str, Path, Any, OnProgress], ImportReportOut],
    channel: str,
    file: Path,
    format: str | None,  # noqa: A002
) -> Shown:
    if format is None and format_of(file)[0] is None:
        raise typer.BadParameter(f"The name of {file.name} does not end in a format: give --format.")
    try:
        with uploading(file.name) as on_progress:
            report = send(channel, file, format, on_progress)
    except ApiError as error:
        if "report" not in error.extra:
            raise
        rejected = ImportReportOut.model_validate(error.extra["report"])
        return Shown(rejected, _bad_lines(rejected), error.detail)
    counts = f"{report.inserted:,} new, {report.updated:,} changed, {report.unchanged:,} as they were"
    return Shown(report, f"{report.rows:,} rows: {counts}.")


def _bad_lines(report: ImportReportOut) -> Group:
    listed = [(bad.line, bad.reason) for bad in report.errors[:MOST_LINES]]
    title = f"{report.error_count:,} bad of {report.rows:,} rows"
    more = report.error_count - len(listed)
    rest = f"... and {more:,} more; --json lists {len(report.errors):,}." if more else ""
    return Group(table(("line", "reason"), listed, title), plain(rest))
