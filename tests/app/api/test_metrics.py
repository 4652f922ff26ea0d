"""Metrics, as Prometheus scrapes them from the running service."""

import threading
import time

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families
from pydantic import SecretStr

from app.api.gauges import COUNTERS, GAUGES, Looked
from app.core.errors import Unavailable
from app.core.metrics import REGISTRY
from app.store.db import Database
from app.store.wake import Wake
from tests.app.api.conftest import Server, Shop, client, is_problem

ROUTE = "/v1/channels/{channel}/recommendations"
BOOKS = "/v1/channels/books/recommendations"
ASK = {"history": ["i1", "i2"], "count": 3}


def scrape(url: str) -> dict[tuple[str, ...], float]:
    """Value by name and sorted labels: `("transrec_jobs", "state=PENDING")`."""
    answer = httpx.get(f"{url}/metrics", timeout=30)
    assert answer.status_code == 200, answer.text
    return {
        (sample.name, *sorted(f"{name}={value}" for name, value in sample.labels.items())): sample.value
        for family in text_string_to_metric_families(answer.text)
        for sample in family.samples
    }


def test_requests_and_recommendations_are_counted_by_route(server: Server, shop: Shop) -> None:
    requests = ("transrec_http_requests_total", "method=POST", f"route={ROUTE}", "status=200")
    refused = ("transrec_http_requests_total", "method=POST", f"route={ROUTE}", "status=422")
    seconds = ("transrec_http_request_seconds_count", "method=POST", f"route={ROUTE}")
    model = ("transrec_recommendations_total", "reason=model", "variant=champion")
    cold = ("transrec_recommendations_total", "reason=cold_start", "variant=champion")
    answered = ("transrec_queue_answered_total", "modality=text")
    before = scrape(server.url)
    bodies: list[dict[str, object]] = [{**ASK}, {**ASK}, {"history": []}, {"count": 3}]
    for body in bodies:
        shop.reader.post(BOOKS, json=body)
    after = scrape(server.url)
    grown = {
        key: after[key] - before.get(key, 0) for key in (requests, refused, seconds, model, cold, answered)
    }
    assert grown == {requests: 3, refused: 1, seconds: 4, model: 2, cold: 1, answered: 2}
    assert after["transrec_http_requests_in_flight",] == 1  # the scrape itself


def test_labels_are_few(server: Server, shop: Shop) -> None:
    shop.reader.post(BOOKS, json={"user_id": "somebody", "count": 1})
    for path in ("/nowhere/at-all", "/v1/channels/no-such-one", "/%00"):
        shop.reader.get(path)
    shop.reader.request("OPTIONS", BOOKS)
    names = ("transrec_http_requests_total", "method=GET", "route=unmatched", "status=404")
    assert scrape(server.url)[names] >= 2
    text = httpx.get(f"{server.url}/metrics").text
    for secret in (shop.tenant, shop.channel_id, "books", "somebody", "nowhere", "no-such-one"):
        assert secret not in text


def test_every_metric_that_is_declared_is_exposed(
    server: Server, shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop.reader.post(BOOKS, json=ASK)
    ranker = server.app.state.engine.rankers["text"]
    memory = {"allocated": 5, "reserved": 7, "total": 9}
    monkeypatch.setattr(ranker, "stats", {**ranker.stats, "gpu": memory})
    text = httpx.get(f"{server.url}/metrics").text
    exposed = {family.name for family in text_string_to_metric_families(text)}
    assert exposed == {family.name for family in REGISTRY.collect()} | GAUGES.keys() | COUNTERS.keys()
    assert 'transrec_gpu_memory_bytes{kind="reserved"} 7.0' in text


def test_state_is_read_at_the_scrape(server: Server, shop: Shop) -> None:
    shop.reader.post(BOOKS, json=ASK)
    shop.operator.post("/v1/admin/channels/books/training-jobs", json={})
    found = scrape(server.url)
    assert found["transrec_releases_live",] == len(server.app.state.engine.live) >= 1
    assert found["transrec_database_up",] == found["transrec_redis_up",] == 1
    assert found["transrec_jobs", "state=PENDING"] >= 1
    assert found["transrec_jobs", "state=FAILED"] == 0
    assert found["transrec_workers_alive",] >= 0
    assert found["transrec_tier_bytes", "modality=all", "tier=server"] > 0
    assert found["transrec_tier_misses_total", "modality=text", "tier=host"] >= 1
    assert found["transrec_swap_seconds_count",] >= 1
    assert not [key for key in found if key[0].startswith("transrec_gpu")]  # there is none


def test_what_is_away_is_said_and_its_figures_are_missing(
    server: Server, shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(_: Database) -> object:
        raise Unavailable("The database does not answer.")

    monkeypatch.setattr(Database, "read", away)
    monkeypatch.setattr(server.app.state.scraper.state, "_redis", Looked(Wake("redis://127.0.0.1:1").ping))
    found = scrape(server.url)
    assert found["transrec_database_up",] == found["transrec_redis_up",] == 0
    assert not [key for key in found if key[0] in ("transrec_jobs", "transrec_workers_alive")]
    assert found["transrec_releases_live",] >= 1


def test_what_hangs_does_not_hang_the_scrape() -> None:
    answers, asked = threading.Event(), []

    def ask() -> str:
        asked.append(time.monotonic())
        answers.wait(30)
        return "back"

    looked = Looked(ask)
    assert [looked.value(0.05) for _ in range(3)] == [None] * 3
    assert len(asked) == 1
    answers.set()
    assert looked.value(10) == "back"
    looked.close()


def test_a_token_where_one_is_set(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    token = "a-token-for-prometheus"
    settings = server.settings.model_copy(update={"metrics_token": SecretStr(token)})
    monkeypatch.setitem(server.app.state._state, "settings", settings)
    for key in (None, "wrong", f"{token}!"):
        with client(server.url, key) as stranger:
            assert is_problem(stranger.get("/metrics"), 401)
    odd = httpx.get(f"{server.url}/metrics", headers={b"Authorization": "Bearer schlüssel".encode()})
    assert is_problem(odd, 401)
    with client(server.url, token) as prometheus:
        answer = prometheus.get("/metrics", headers={"Accept": "application/openmetrics-text; version=1.0.0"})
        assert answer.status_code == 200
        assert answer.headers["content-type"].startswith("application/openmetrics-text")
        assert answer.text.endswith("# EOF\n")
