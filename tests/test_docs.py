"""What a user can set, call or run is in the documentation, or a test fails."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.metrics import MetricWrapperBase
from starlette.routing import Mount, Route
from typer.main import get_command

from app.cli import cli
from app.core.config import PREFIX, Settings
from app.model.methods import METHODS
from training.cli import commands

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", *sorted(DOCS.glob("*.md"))]
COMMAND_PAGES = ("operations.md", "cli.md")
COMMENT = re.compile(r"<!--.*?-->", re.DOTALL)


def shown(page: Path) -> str:
    """What a reader sees of a page."""
    return COMMENT.sub("", page.read_text())


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


def test_what_is_for_people_is_named_by_the_api_page() -> None:
    """Pages such as `/docs`, and the console as one, are in no description of the API."""
    from app.main import create_app

    app = create_app()
    paths = {route.path for route in app.routes if isinstance(route, Route | Mount)}
    others = {"/" + path.split("/")[1] for path in paths - app.openapi()["paths"].keys()}
    text = shown(DOCS / "api.md")
    assert {path for path in others if f"`{path}`" not in text} == set()


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
    text = "".join(shown(DOCS / page) for page in COMMAND_PAGES if (DOCS / page).exists())
    assert {name for name in _all_commands() if f"`transrec {name}`" not in text} == set()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.name))
def test_commands_and_targets_that_a_page_names_exist(page: Path) -> None:
    text = shown(page)
    first = {name.split()[0] for name in _all_commands()}
    assert set(re.findall(r"(?:`|^|[ (])transrec ([a-z][a-z-]*)", text, re.MULTILINE)) <= first
    assert set(re.findall(r"(?:`|^)make ([a-z-]+)", text, re.MULTILINE)) <= _targets()


def _all_commands() -> set[str]:
    return {*_commands(get_command(cli)), *_commands(get_command(commands))}


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
    readme = shown(ROOT / "README.md")
    assert {t for t in _targets() if not re.search(rf"make {t}(?![a-z-])", readme)} == set()


def _targets() -> set[str]:
    return set(re.findall(r"^([a-z-]+):.*##", (ROOT / "Makefile").read_text(), re.MULTILINE))


def test_the_readme_s_tree_is_there() -> None:
    tree = re.search(r"^## Tree\n(.*?)^## ", (ROOT / "README.md").read_text(), re.MULTILINE | re.DOTALL)
    assert tree
    parents: list[str] = []
    for indent, name in re.findall(r"^( *)([\w.-]+(?:/[\w.-]*)?)(?:  |$)", tree[1], re.MULTILINE):
        parents[len(indent) // 2 :] = [name]
        assert ROOT.joinpath(*parents).exists(), name


def test_every_page_is_linked_from_the_readme() -> None:
    readme = shown(ROOT / "README.md")
    assert [page.name for page in PAGES[1:] if f"docs/{page.name}" not in readme] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.name))
def test_links_between_pages_lead_somewhere(page: Path) -> None:
    targets = re.findall(r"\]\((?!https?://|#)([^)#]+)", page.read_text())
    assert [t for t in targets if not (page.parent / t).exists()] == []
