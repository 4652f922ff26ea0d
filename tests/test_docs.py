"""What a user can set, call or run is in the documentation, or a test fails."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.metrics import MetricWrapperBase
from typer.main import get_command

from app.cli import cli
from app.core.config import PREFIX, Settings
from app.model.methods import METHODS
from training.cli import commands

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", *sorted(DOCS.glob("*.md"))]


def test_every_setting_has_a_row_with_its_default_and_its_words() -> None:
    text = (DOCS / "configuration.md").read_text()
    rows = {
        cells[0]: cells[1:]
        for line in text.splitlines()
        if line.startswith(f"| `{PREFIX}")
        for cells in [[cell.strip() for cell in line.strip("|").split("|")]]
    }
    expected = {
        f"`{PREFIX}{name.upper()}`": [_shown(field.default), field.description or ""]
        for name, field in Settings.model_fields.items()
    }
    assert rows == expected


def _shown(default: object) -> str:
    return "" if default is None or default == "" else f"`{default}`"


def test_every_route_is_documented() -> None:
    from app.main import create_app

    text = (DOCS / "api.md").read_text()
    documented = set(re.findall(r"`((?:GET|POST|PUT|PATCH|DELETE) /[^`?]*)", text))
    served = {
        f"{method.upper()} {path}"
        for path, operations in create_app().openapi()["paths"].items()
        for method in operations
    }
    assert served - documented == set(), "routes that docs/api.md does not name"
    assert documented - served == set(), "routes that docs/api.md names but nobody serves"


def test_every_metric_is_documented_with_its_labels() -> None:
    from app.api.gauges import COUNTERS, GAUGES
    from app.core import metrics

    found = [value for value in vars(metrics).values() if isinstance(value, MetricWrapperBase)]
    exposed = {_exposed(m._name, m._type): set(m._labelnames) for m in found}
    exposed |= {name: set(labels.split()) for name, (_, labels) in GAUGES.items()}
    exposed |= {_exposed(name, "counter"): set(labels.split()) for name, (_, labels) in COUNTERS.items()}
    rows = re.findall(r"^\| `(transrec_\w+)` \|([^|]*)\|", (DOCS / "operations.md").read_text(), re.MULTILINE)
    assert {name: set(re.findall(r"`(\w+)`", labels)) for name, labels in rows} == exposed


def _exposed(name: str, kind: str | None) -> str:
    return f"{name}_total" if kind == "counter" else name


def test_every_command_is_documented() -> None:
    text = (DOCS / "operations.md").read_text()
    names = {*_commands(get_command(cli)), *_commands(get_command(commands))}
    assert {name for name in names if f"`transrec {name}`" not in text} == set()


def _commands(command: Any, prefix: str = "") -> Iterator[str]:
    """The full names of all commands: "serve", "key create"."""
    for name, inner in command.commands.items():
        if hasattr(inner, "commands"):
            yield from _commands(inner, f"{prefix}{name} ")
        else:
            yield f"{prefix}{name}"


def test_every_method_and_knob_is_documented() -> None:
    lines = (DOCS / "adapters.md").read_text().splitlines()
    rows = {m: next(line for line in lines if line.startswith("| `") and f"`{m}`" in line) for m in METHODS}
    houlsby, common = rows["houlsby"], next(line for line in lines if "`tune_dtl`" in line)
    missing = {
        (method, knob)
        for method, spec in METHODS.items()
        for knob in spec.knobs
        if knob not in spec.fixed
        and not any(f"`{knob}`" in place for place in (rows[method], common))
        and not ("as houlsby" in rows[method] and f"`{knob}`" in houlsby)
    }
    assert missing == set()


def test_every_make_target_is_in_the_readme() -> None:
    targets = re.findall(r"^([a-z-]+):.*##", (ROOT / "Makefile").read_text(), re.MULTILINE)
    readme = (ROOT / "README.md").read_text()
    assert {t for t in targets if not re.search(rf"make {t}(?![a-z-])", readme)} == set()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.name))
def test_links_between_pages_lead_somewhere(page: Path) -> None:
    targets = re.findall(r"\]\((?!https?://|#)([^)#]+)", page.read_text())
    assert [t for t in targets if not (page.parent / t).exists()] == []
