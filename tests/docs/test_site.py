"""The site builds without a warning, and nothing that a page loads comes from another server."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
LOADS = re.compile(
    r"<(?:script|img|iframe|link|source)\b[^>]*?\b(?:src|href)=[\"']?((?:https?:)?//[^\"' >]+)"
)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, built as `make docs` builds it."""
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)]
    done = subprocess.run(
        command, cwd=ROOT, env={**os.environ, "NO_MKDOCS_2_WARNING": "1"}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return folder


def test_every_page_is_there(site: Path) -> None:
    pages = {page.stem for page in (ROOT / "docs").glob("*.md")} | {"index", "changelog", "license"}
    assert pages <= {page.stem for page in site.glob("*.html")}


def test_pages_load_nothing_from_elsewhere(site: Path) -> None:
    loaded = {url for page in site.rglob("*.html") for url in LOADS.findall(page.read_text())}
    assert loaded == set()
    styles = [style.read_text() for style in site.rglob("*.css")]
    assert [style for style in styles if re.search(r"@import|url\([\"']?(?:https?:)?//", style)] == []


def test_search_needs_no_server(site: Path) -> None:
    assert (site / "search" / "search_index.js").stat().st_size > 10_000
    assert "assets/iframe-worker.js" in (site / "index.html").read_text()


def test_pictures_say_what_they_show() -> None:
    pages = [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]
    silent = [
        str(page) for page in pages if re.search(r"!\[\s*\]|<img(?![^>]*\balt=\"[^\"])", page.read_text())
    ]
    assert silent == []
