"""The server of the API's tests, of which the console is a part, and visitors with a browser."""

import re
from collections.abc import Iterator

import httpx
import pytest

from tests.app.api.conftest import OPERATOR, Server, Shop, backbone, image_backbone, platform, server, shop

__all__ = ["backbone", "image_backbone", "platform", "server", "shop"]
SIGN_IN = "/admin/sign-in"


def browser(server: Server, address: str = "127.0.0.1") -> httpx.Client:
    """Somebody's browser: it keeps cookies and follows nothing."""
    transport = httpx.HTTPTransport(local_address=address)
    return httpx.Client(base_url=server.url, transport=transport, timeout=30)


def sign_in(visitor: httpx.Client, key: str, onward: str = "", **headers: str) -> httpx.Response:
    return visitor.post(SIGN_IN, data={"key": key, "next": onward}, headers=headers)


def key_of(api: httpx.Client) -> str:
    return str(api.headers["Authorization"]).removeprefix("Bearer ")


def csrf_of(visitor: httpx.Client) -> dict[str, str]:
    """What the pages of this session send back."""
    found = re.search(r'"X-CSRF-Token": "([0-9a-f.]+)"', visitor.get("/admin/").text)
    assert found
    return {"X-CSRF-Token": found[1]}


@pytest.fixture
def owner(server: Server) -> Iterator[httpx.Client]:
    """The platform's operator, signed in."""
    with browser(server) as visitor:
        assert sign_in(visitor, OPERATOR).status_code == 303
        yield visitor


@pytest.fixture
def visitor(server: Server, shop: Shop) -> Iterator[httpx.Client]:
    """The shop's operator, signed in."""
    with browser(server) as opened:
        assert sign_in(opened, key_of(shop.operator)).status_code == 303
        yield opened
