"""What adapters cost in parameters; loads no weights."""

import json
from typing import Annotated, Any

import typer

cli = typer.Typer()


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
