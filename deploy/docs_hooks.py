"""MkDocs: pages that lie beside `docs`, such as the README, with their links as the site has them."""

import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parent.parent
PAGES = {"README.md": "index.md", "CHANGELOG.md": "changelog.md", "LICENSE": "license.md"}
TARGET = re.compile(r"\]\((?!https?:|#)([^)#]+)")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Return the files with those pages among them."""
    for source, page in PAGES.items():
        text = (ROOT / source).read_text()
        shown = (
            TARGET.sub(_on_site, text)
            if source.endswith(".md")
            else f"# {source.title()}\n\n```\n{text}```\n"
        )
        files.append(File.generated(config, page, content=shown))
    return files


def _on_site(link: re.Match[str]) -> str:
    return f"]({PAGES.get(link[1]) or link[1].removeprefix('docs/')}"
