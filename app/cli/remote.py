"""Commands that ask a server: `@remote` gives them --url, --key, --tenant and --json."""

import inspect
import os
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Concatenate, ParamSpec

import typer

from app.cli.output import Shown, show
from app.client import Client, ClientError
from app.client.connection import LOCAL, address
from app.core.names import HOME, KEY_FILE

P = ParamSpec("P")
_PANEL = "Server"
Url = Annotated[
    str | None,
    typer.Option(envvar="TRANSREC_URL", rich_help_panel=_PANEL, help=f"Its address; else {LOCAL}."),
]
Key = Annotated[
    str | None,
    typer.Option(
        envvar="TRANSREC_KEY",
        rich_help_panel=_PANEL,
        help="Your key; others of this machine see it in the list of processes, the variable they do not.",
    ),
]
Tenant = Annotated[
    str | None,
    typer.Option(
        envvar="TRANSREC_TENANT", rich_help_panel=_PANEL, help="Whose; for the platform operator's key."
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="JSON on stdout.")]
_OPTIONS = {"url": Url, "key": Key, "tenant": Tenant, "as_json": AsJson}


def remote(function: Callable[Concatenate[Client, P], Shown]) -> Callable[..., None]:
    """A command of a function that gets a client in place of the four options, and says what to print."""

    def command(
        url: str | None, key: str | None, tenant: str | None, as_json: bool, *args: Any, **asked: Any
    ) -> None:
        with connected(url, key, tenant) as client:
            show(function(client, *args, **asked), as_json)

    _, *own = inspect.signature(function).parameters.values()
    keyword = inspect.Parameter.KEYWORD_ONLY
    options = [
        inspect.Parameter(name, keyword, annotation=kind, default=False if kind is AsJson else None)
        for name, kind in _OPTIONS.items()
    ]
    # What Typer reads: the function's own parameters, then the four.
    parameters = [*(each.replace(kind=keyword) for each in own), *options]
    command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    command.__annotations__ = {each.name: each.annotation for each in parameters}
    command.__name__, command.__doc__ = function.__name__, function.__doc__
    return command


def connected(url: str | None, key: str | None, tenant: str | None) -> Client:
    """A client; for a server on this machine by default with the key that `transrec serve` left in the home.

    Raises `ClientError` when there is no key.
    """
    url = url or LOCAL
    found = key or _key_file(url)
    if found is None:
        raise ClientError("There is no key: set TRANSREC_KEY, or give --key.")
    return Client(url, found, tenant)


def _key_file(url: str) -> str | None:
    if address(url).host not in ("127.0.0.1", "localhost", "::1"):
        return None  # an operator's key never leaves its machine by itself
    try:
        return (Path(os.environ.get("TRANSREC_HOME", HOME)) / KEY_FILE).read_text().strip()
    except OSError:
        return None
