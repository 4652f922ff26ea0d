"""What versions of a channel have measured, beside popularity."""

from typing import Annotated

import typer

from app.cli.channels import Channel
from app.cli.output import Shown, table
from app.cli.remote import remote
from app.client import Client, ClientError

cli = typer.Typer()
_MEASURES = {"HR@10": "hr10", "NDCG@10": "ndcg10", "users": "users"}
_NAMES = {"adapter": "this version", "champion": "champion before it"}


@cli.command()
@remote
def evaluate(
    client: Client,
    channel: Channel,
    version: Annotated[int | None, typer.Option(min=1, help="A version beside the champion.")] = None,
) -> Shown:
    """Show what the champion, or a version, measured when it was trained, beside popularity and others."""
    champion = client.channel(channel).champion.version
    wanted = [each for each in dict.fromkeys([champion, version]) if each]
    measured = {each: client.adapter(channel, each).metrics for each in wanted}
    data = [
        {
            "version": each,
            "split": split,
            "of": of,
            **{name: values.get(key) for name, key in _MEASURES.items()},
        }
        for each, metrics in measured.items()
        for split in ("validation", "test")
        for of, values in metrics.get(split, {}).items()
    ]
    if not data or not (version is None or measured[version]):
        whose = "Nothing" if version is None else f"Nothing of version {version}"
        raise ClientError(
            f"{whose} was measured: the bare backbone and uploaded adapters are not. Train one first."
        )
    rows = [
        (
            f"{row['version']}{' (champion)' if row['version'] == champion else ''}",
            row["split"],
            _NAMES.get(str(row["of"]), row["of"]),
            *(row[name] for name in _MEASURES),
        )
        for row in data
    ]
    return Shown(data, table(("version", "split", "of", *_MEASURES), rows))
