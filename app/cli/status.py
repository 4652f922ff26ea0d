"""How the service is: its health, and its channels at a glance."""

from http import HTTPStatus
from typing import Any

import typer
from rich.console import Group

from app.api.schemas.channels import ChannelDetail
from app.api.schemas.overview import ChannelState, OverviewOut, Summary
from app.cli.output import Shown, facts, plain, table
from app.cli.remote import remote
from app.client import ApiError, Client

cli = typer.Typer()
PAGE = 200  # the most that the server gives at once
COLUMNS = (
    "tenant", "channel", "state", "items", "interactions", "champion", "HR@10", "challenger", "last hour",
)  # fmt: skip


@cli.command()
@remote
def status(client: Client) -> Shown:
    """Show whether the service is ready, and its channels; the platform's operator sees all tenants'."""
    health = _health(client)
    ready = health["status"] == "ready"
    state: dict[str, object] = {"url": client.url, "health": health}
    lines: dict[str, object] = {
        "server": client.url,
        "status": "ready" if ready else f"not ready: {health['detail']}",
    }
    try:
        pages = _pages(client)
    except ApiError as error:
        if error.status != HTTPStatus.FORBIDDEN:
            raise
        whose = client.tenant_name or client.me().tenant
        details = [client.channel(each.name) for each in client.channels()]  # of a reader's or writer's key
        state["channels"], rows = details, [_reader_row(whose, each) for each in details]
    else:
        states = [each for page in pages for each in page.channels]
        state |= {"summary": pages[0].summary, "channels": states}
        lines |= _summary(pages[0].summary)
        rows = [_row(each) for each in states]
    shown = Group(facts(lines), plain(""), table(COLUMNS, rows))
    return Shown(state, shown, "" if ready else "The service is not ready.")


def _health(client: Client) -> dict[str, Any]:
    try:
        return client.ready()
    except ApiError as error:
        if error.status != HTTPStatus.SERVICE_UNAVAILABLE:
            raise
        return {**error.extra, "status": "not ready", "detail": error.detail}


def _pages(client: Client) -> list[OverviewOut]:
    pages = [client.overview(limit=PAGE)]
    while pages[-1].next:
        pages.append(client.overview(limit=PAGE, after=pages[-1].next))
    return pages


def _summary(found: Summary) -> dict[str, object]:
    counts = ", ".join(f"{number:,} {health}" for health, number in found.health.items() if number)
    latency = found.latency
    return {
        "channels": f"{found.channels:,}: {counts}" if counts else "none",
        "last hour": f"{found.recommendations_hour:,} recommendations",
        "latency": latency.p50_ms and f"p50 {latency.p50_ms:.1f} ms, p99 {latency.p99_ms:.1f} ms",
    }


def _row(found: ChannelState) -> tuple[object, ...]:
    trial = found.challenger
    return (
        found.tenant,
        found.name,
        found.health if found.health == "ok" else f"{found.health}: {found.reason}",
        found.items,
        found.interactions,
        f"{found.champion.version} ({found.champion.method})",
        found.scores and found.scores.hr10,
        trial and f"{trial.version} ({trial.share:g}{', shadow' if trial.shadow else ''})",
        found.recommendations_hour,
    )


def _reader_row(tenant: str | None, found: ChannelDetail) -> tuple[object, ...]:
    """What a key sees that is no operator's."""
    serving = found.serving
    behind = serving.generation is None or serving.generation < found.generation
    return (
        tenant,
        found.name,
        f"failed: {serving.failure}" if serving.failure else "behind" if behind else "ok",
        found.items,
        found.interactions,
        f"{found.champion.version} ({found.champion.method})",
        None,
        None,
        None,
    )
