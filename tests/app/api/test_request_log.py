"""Request ids, and what the log says of a request."""

import io
import json
import logging
import os
import signal
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from app.api import observed
from app.core.log import JsonLines
from app.serving.engine import Engine
from tests.app.api.conftest import Server, Shop, is_problem, wait_for

BOOKS = "/v1/channels/books/recommendations"
ASK = {"history": ["i1", "i2"], "count": 3}


class Lines:
    """What was logged since the test began."""

    def __init__(self) -> None:
        self._stream = io.StringIO()
        self.handler = logging.StreamHandler(self._stream)
        self.handler.setFormatter(JsonLines())

    def of(self, request_id: str) -> list[dict[str, Any]]:
        """The lines of a request, in their order."""
        lines = [json.loads(line) for line in self._stream.getvalue().splitlines()]
        return [line for line in lines if line.get("request_id") == request_id]


@pytest.fixture
def lines() -> Iterator[Lines]:
    root, found = logging.getLogger(), Lines()
    level = root.level
    root.addHandler(found.handler)
    root.setLevel(logging.INFO)
    yield found
    root.removeHandler(found.handler)
    root.setLevel(level)


def layer(server: Server) -> observed.Observed:
    """The middleware of the running service."""
    app: Any = server.app.middleware_stack
    while not isinstance(app, observed.Observed):
        app = app.app
    return app


@pytest.fixture
def all_logged(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layer(server), "_all", True)


def test_a_sane_id_is_kept_and_any_other_replaced(server: Server, shop: Shop) -> None:
    asked = "9f0c-4711.a:b"
    assert shop.reader.post(BOOKS, json=ASK, headers={"X-Request-ID": asked}).headers["x-request-id"] == asked
    made = {shop.reader.post(BOOKS, json=ASK).headers["x-request-id"] for _ in range(5)}
    for bad in ("a b", "x" * 129, "", 'a"b', "schlüssel"):
        made.add(
            shop.reader.get("/health/live", headers={b"X-Request-ID": bad.encode()}).headers["x-request-id"]
        )
    assert len(made) == 10
    assert all(request_id.startswith("req_") for request_id in made)


def test_problems_carry_the_id(server: Server, shop: Shop) -> None:
    for answer in (
        shop.reader.get("/v1/channels/nope"),
        shop.reader.get("/nowhere"),
        shop.reader.post(BOOKS, json={"count": -1}),
        httpx.get(f"{server.url}/v1/channels/books"),
    ):
        assert is_problem(answer, answer.status_code)
        assert answer.json()["request_id"] == answer.headers["x-request-id"]


def test_a_crash_is_one_problem_with_its_id_in_every_line(
    server: Server, shop: Shop, lines: Lines, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise ValueError("secret detail")

    monkeypatch.setattr(Engine, "release", broken)
    answer = shop.reader.post(BOOKS, json=ASK)
    assert is_problem(answer, 500)
    assert "secret detail" not in answer.text
    assert answer.json()["request_id"] == answer.headers["x-request-id"]
    wait_for(lambda: len(lines.of(answer.headers["x-request-id"])) == 2)
    line, traceback = lines.of(answer.headers["x-request-id"])
    assert "secret detail" in traceback["traceback"]  # the server's
    expected = {"method": "POST", "route": "/v1/channels/{channel}/recommendations", "status": 500}
    assert expected.items() <= line.items()
    assert line["level"] == "WARNING"
    assert line["tenant_id"].startswith("ten_") and line["key_id"].startswith("key_")


@pytest.mark.usefixtures("all_logged")
def test_all_are_logged_when_asked_for_with_who_asked_and_never_the_key(
    server: Server, shop: Shop, lines: Lines
) -> None:
    key = shop.reader.headers["Authorization"].removeprefix("Bearer ")
    answers = (
        shop.reader.post(BOOKS, json=ASK),  # from memory
        shop.reader.get("/v1/channels/books"),  # from a thread
        httpx.get(f"{server.url}/v1/channels/books", headers={"Authorization": f"Bearer x{key}"}),
        httpx.get(f"{server.url}/health/live"),
    )
    ids = [answer.headers["x-request-id"] for answer in answers]
    wait_for(lambda: all(lines.of(request_id) for request_id in ids))
    # The last of each: a wrong key has a line of its own before.
    known, threaded, stranger, nobody = [lines.of(request_id)[-1] for request_id in ids]
    assert known["tenant_id"] == threaded["tenant_id"] and known["key_id"] == threaded["key_id"]
    assert known["status"] == 200 and 0 < known["ms"] < 30_000 and known["level"] == "INFO"
    assert stranger["status"] == 401
    assert not {"tenant_id", "key_id"} & (stranger.keys() | nobody.keys())
    assert key not in json.dumps([known, threaded, stranger, nobody])


def test_quick_answers_are_not_logged_and_slow_ones_are(
    shop: Shop, lines: Lines, monkeypatch: pytest.MonkeyPatch
) -> None:
    quick = shop.reader.post(BOOKS, json=ASK).headers["x-request-id"]
    monkeypatch.setattr(observed, "SLOW_SECONDS", 0)
    slow = shop.reader.post(BOOKS, json=ASK).headers["x-request-id"]
    wait_for(lambda: lines.of(slow))
    assert not lines.of(quick)


def test_nothing_is_logged_when_it_is_off(
    server: Server, shop: Shop, lines: Lines, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(layer(server), "_off", True)
    monkeypatch.setattr(observed, "SLOW_SECONDS", 0)
    off = shop.reader.post(BOOKS, json=ASK).headers["x-request-id"]
    monkeypatch.setattr(layer(server), "_off", False)
    on = shop.reader.post(BOOKS, json=ASK).headers["x-request-id"]
    wait_for(lambda: lines.of(on))
    assert not lines.of(off)


def test_not_ready_while_a_model_is_away_and_back_without_a_request(server: Server, shop: Shop) -> None:
    ready = f"{server.url}/health/ready"
    assert httpx.get(ready).status_code == 200
    process = server.app.state.engine.rankers["text"]._process
    os.kill(process.pid, signal.SIGKILL)
    wait_for(lambda: httpx.get(ready).status_code == 503)
    answer = httpx.get(ready)
    assert is_problem(answer, 503)
    assert answer.json()["reason"] == "model"
    wait_for(lambda: httpx.get(ready).status_code == 200, 60)  # nobody has asked the model anything
    assert shop.reader.post(BOOKS, json=ASK).status_code == 200


def test_not_ready_while_draining(server: Server, shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server.app.state.drain, "draining", True)
    answer = httpx.get(f"{server.url}/health/ready")
    assert is_problem(answer, 503)
    assert answer.json()["reason"] == "draining"
    going_on = shop.reader.post(BOOKS, json=ASK)
    assert going_on.status_code == 200
    assert going_on.headers["connection"] == "close"
