"""The page of the documentation: its blocks run, and it names every method."""

import re
from pathlib import Path

import pytest

from app.client import Client
from tests.app.api.conftest import OPERATOR, Server, Shop

PAGE = (Path(__file__).parents[3] / "docs" / "client.md").read_text()


def test_the_blocks_run_in_their_order(server: Server, shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRANSREC_URL", server.url)
    monkeypatch.setenv("TRANSREC_KEY", OPERATOR)
    monkeypatch.setenv("TRANSREC_TENANT", shop.tenant)
    blocks = re.findall(r"(?<!-->\n)```python\n(.*?)```", PAGE, re.DOTALL)
    assert len(blocks) == 3
    names: dict[str, object] = {}
    for block in blocks:
        exec(block, names)  # noqa: S102 - our own page
    client = names["client"]
    assert isinstance(client, Client)
    assert client.item("books", "new-1").text == "a new thing"
    client.close()


def test_every_method_is_named() -> None:
    methods = {name for name in dir(Client) if not name.startswith("_")} - {"send", "close"}
    assert {name for name in methods if f"`{name}`" not in PAGE} == set()
