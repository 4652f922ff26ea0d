"""Clients of the real server of tests/app/api, and a server between them that fails as told."""

from collections.abc import Iterator

import pytest

from app.client import Client
from tests.app.api.conftest import (
    OPERATOR,
    Server,
    Shop,
    backbone,
    image_backbone,
    platform,
    server,
    shop,
)
from tests.app.client.flaky import Flaky

__all__ = ["backbone", "image_backbone", "platform", "server", "shop"]


@pytest.fixture(autouse=True)
def no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("TRANSREC_URL", "TRANSREC_KEY", "TRANSREC_TENANT"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def client(server: Server, shop: Shop) -> Iterator[Client]:
    """The platform operator's client, at work for the shop."""
    with Client(server.url, OPERATOR, shop.tenant) as opened:
        yield opened


@pytest.fixture
def flaky(server: Server) -> Iterator[Flaky]:
    """A server that fails as told, and else passes on to the real one."""
    with Flaky(server.url) as started:
        yield started
