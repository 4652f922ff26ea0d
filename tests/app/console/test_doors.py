"""What is shown to whom: no link or tab leads to where the visitor may not go."""

import re
from collections import deque
from html import unescape

import httpx
import pytest

from tests.app.api.conftest import OPERATOR, Server, Shop
from tests.app.console.conftest import browser, key_of, sign_in
from tests.app.console.test_security import HEADERS

LINK = re.compile(r'(?:href|hx-get)="(/admin/[^"#]*)"')
TABS = {
    "": "everybody",
    "/data": "everybody",
    "/training": "operators",
    "/releases": "operators",
    "/playground": "everybody",
    "/map": "operators",
    "/settings": "everybody",
}


def links(page: httpx.Response) -> list[str]:
    return [unescape(path) for path in LINK.findall(page.text) if "/static/" not in path]


@pytest.mark.parametrize("role", ["reader", "writer", "operator", "platform"])
def test_whatever_is_offered_opens(server: Server, shop: Shop, role: str) -> None:
    key = OPERATOR if role == "platform" else key_of(getattr(shop, role))
    front = f"/admin/channels/{shop.tenant}/books"
    with browser(server) as visitor:
        assert sign_in(visitor, key).status_code == 303
        seen, todo = {"/admin/", front}, deque(["/admin/", front])
        while todo and len(seen) < 150:
            path = todo.popleft()
            page = visitor.get(path)
            assert page.status_code == 200, path
            # Of others' channels and tenants, which other tests have made, the first page is enough.
            new = [link for link in links(page) if shop.tenant in link or link.count("/") == 2]
            todo.extend(link for link in dict.fromkeys(new) if link not in seen)
            seen.update(new)
        tabs = {path.removeprefix(front).partition("?")[0] for path in seen if path.startswith(front)}
        who = {"everybody", "operators"} if role in ("operator", "platform") else {"everybody"}
        assert tabs & TABS.keys() == {tab for tab, whose in TABS.items() if whose in who}


def test_the_redirect_to_the_slash_has_the_headers_too(server: Server) -> None:
    with browser(server) as stranger:
        for path, onward in (("/admin", "/admin/"), ("/admin?search=a%20b", "/admin/?search=a%20b")):
            answer = stranger.get(path)
            assert (answer.status_code, answer.headers["location"]) == (307, onward)
            assert "default-src 'none'" in answer.headers["content-security-policy"]
            assert {name: answer.headers[name] for name in HEADERS} == HEADERS


def test_the_apis_description_is_served_from_here_alone(server: Server) -> None:
    with browser(server) as stranger:
        page = stranger.get("/docs")
        assert page.status_code == 200
        assert "default-src 'none'" in page.headers["content-security-policy"]
        files = re.findall(r'(?:src|href)="([^"]*)"', page.text)
        assert len(files) == 4
        for file in files:
            assert file.startswith(("/docs/files/", "/admin/static/"))
            answer = stranger.get(file)
            assert answer.status_code == 200
            assert "immutable" in answer.headers["cache-control"]
            assert {name: answer.headers[name] for name in HEADERS} == HEADERS
        assert stranger.get("/redoc").status_code == 404
