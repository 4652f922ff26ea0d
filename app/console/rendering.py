"""Templates, and how numbers and moments are written in them."""

import hashlib
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import quote

import jinja2
from fastapi.templating import Jinja2Templates

from app.console.security import PATH

HERE = Path(__file__).parent
STATIC = HERE / "static"
KIB = 1024
NONE = "–"


@cache
def static(name: str) -> str:
    """The address of a static file: it changes with the file's content, so a browser may keep it for good."""
    digest = hashlib.sha256((STATIC / name).read_bytes()).hexdigest()[:12]
    return f"{PATH}/static/{name}?v={digest}"


def number(value: float | None, digits: int = 0) -> str:
    """12345.6 -> 12,346."""
    return NONE if value is None else f"{value:,.{digits}f}"


def metric(value: float | None) -> str:
    """0.17154 -> .1715, as accuracy is written in papers."""
    return NONE if value is None else f"{value:.4f}".removeprefix("0")


def percent(value: float | None, digits: int = 1) -> str:
    """0.0512 -> 5.1 %."""
    return NONE if value is None else f"{100 * value:.{digits}f} %"


def size(value: float | None) -> str:
    """Bytes with a unit: 2097152 -> 2.0 MiB."""
    if value is None:
        return NONE
    for unit in ("bytes", "KiB", "MiB", "GiB"):
        if value < KIB:
            return f"{value:,.0f} {unit}" if unit == "bytes" else f"{value:.1f} {unit}"
        value /= KIB
    return f"{value:.1f} TiB"


def moment(value: str | None) -> str:
    """An ISO moment to the minute, in UTC."""
    return NONE if not value else f"{datetime.fromisoformat(value).astimezone(UTC):%Y-%m-%d %H:%M} UTC"


def milliseconds(value: int) -> str:
    """Milliseconds since 1970 to the second, in UTC; as they are where no calendar has them."""
    try:
        return f"{datetime.fromtimestamp(value / 1000, UTC):%Y-%m-%d %H:%M:%S} UTC"
    except (OverflowError, ValueError, OSError):
        return str(value)


def ago(value: str | None) -> str:
    """How long ago an ISO moment was: 5 s, 3 min, 2 h, 4 d."""
    if not value:
        return NONE
    seconds = max(0.0, (datetime.now(UTC) - datetime.fromisoformat(value)).total_seconds())
    for unit, length in (("d", 86_400), ("h", 3600), ("min", 60)):
        if seconds >= length:
            return f"{seconds / length:.0f} {unit} ago"
    return f"{seconds:.0f} s ago"


def quoted(text: str) -> str:
    """A segment of an address: a/b -> a%2Fb."""
    return quote(text, safe="")


def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(HERE / "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    filters: list[Any] = [number, metric, percent, size, moment, milliseconds, ago, quoted]
    environment.filters |= {found.__name__: found for found in filters}
    environment.globals |= {"static": static, "root": PATH}
    return environment


templates = Jinja2Templates(env=_environment())
