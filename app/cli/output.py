"""What commands print: JSON for programs, or text and tables for people."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

import typer
from pydantic_core import to_json
from rich.console import Console, RenderableType
from rich.table import Table
from rich.text import Text

PIPED_WIDTH = 200  # of what is no terminal; rich's 80 would break lines


@dataclass(frozen=True)
class Shown:
    """What a command has to say: `data` by --json, else `text`; with an `error` its exit status is 1."""

    data: object
    text: RenderableType
    error: str = ""


def show(shown: Shown, as_json: bool) -> None:
    """Print it; raises `typer.Exit` for an error."""
    if as_json:
        typer.echo(to_json(shown.data, by_alias=False).decode())
    else:
        console = Console(highlight=False)
        console.width = console.width if console.is_terminal else PIPED_WIDTH
        console.print(shown.text)
    if shown.error:
        typer.echo(f"Error: {shown.error}", err=True)
        raise typer.Exit(1)


def table(columns: Sequence[str], rows: Iterable[Sequence[object]], title: str = "") -> Table:
    """A table of plain cells; numbers stand at the right."""
    made = Table(title=title or None, title_justify="left")
    cells = [[*row] for row in rows]
    for n, column in enumerate(columns):
        numbers = all(isinstance(row[n], int | float | None) for row in cells) and bool(cells)
        made.add_column(column, justify="right" if numbers else "left", overflow="fold")
    for row in cells:
        made.add_row(*(plain(cell) for cell in row))
    return made


def facts(pairs: dict[str, object]) -> Table:
    """Names and values, a line each."""
    made = Table.grid(padding=(0, 2))
    for name, value in pairs.items():
        made.add_row(Text(name, style="bold"), plain(value))
    return made


def plain(value: object) -> Text:
    """A cell: what others have written is neither markup nor a command to the terminal."""
    match value:
        case None:
            shown = "-"
        case bool():
            shown = "yes" if value else "no"
        case int():
            shown = f"{value:,}"
        case float():
            shown = f"{value:.4f}"
        case datetime():
            shown = f"{value:%Y-%m-%d %H:%M:%S}"
        case _:
            shown = str(value)
    return Text("".join(c if c.isprintable() or c == "\n" else "\N{REPLACEMENT CHARACTER}" for c in shown))
