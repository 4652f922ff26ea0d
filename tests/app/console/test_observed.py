"""A page is one request: counted, limited, logged and named once, whatever it asks the API."""

import httpx
import pytest

from app.console.gateway import Gateway
from app.console.rendering import static
from app.store.db import Database
from tests.app.api.conftest import Server, Shop
from tests.app.api.test_metrics import scrape
from tests.app.console.conftest import browser, csrf_of

Sample = tuple[str, ...]


def counted(route: str, status: int = 200, method: str = "GET") -> Sample:
    """A route's counter."""
    return ("transrec_http_requests_total", f"method={method}", f"route={route}", f"status={status}")


def test_pages_are_counted_by_their_templates(server: Server, visitor: httpx.Client, shop: Shop) -> None:
    before = scrape(server.url)
    visitor.get("/admin/")
    visitor.get(f"/admin/channels/{shop.tenant}/books/settings")
    visitor.get(f"/admin/channels/{shop.tenant}/nowhere/settings")
    visitor.get(f"/admin/tenants/{shop.tenant}")
    visitor.get(static("console.css"))
    visitor.get("/admin/static/nothing")
    visitor.get(f"/admin/nothing/{shop.tenant}")
    with browser(server) as stranger:
        stranger.get("/admin/audit")
    after = scrape(server.url)
    grown = {key for key, value in after.items() if value != before.get(key, 0)}
    settings = "/admin/channels/{tenant}/{channel}/settings"
    expected = {
        counted("/admin/"),
        counted(settings),
        counted(settings, 404),
        counted("/admin/tenants/{tenant}"),
        counted("/admin/static/{file}"),
        counted("/admin/static/{file}", 404),
        counted("unmatched", 404),
        counted("/admin/audit", 303),
        counted("/metrics"),  # the first scrape
    }
    # What the pages asked of the API (/v1/me, ...) is not among them.
    assert {key for key in grown if key[0] == "transrec_http_requests_total"} == expected
    assert after["transrec_http_requests_in_flight",] == 1  # the scrape itself


def test_an_act_is_audited_under_the_pages_request_id(visitor: httpx.Client, shop: Shop) -> None:
    sent = csrf_of(visitor) | {"X-Request-ID": "by-hand-1"}
    made = visitor.post(f"/admin/tenants/{shop.tenant}/keys", data={"role": "reader"}, headers=sent)
    assert made.headers["x-request-id"] == "by-hand-1"
    (entry,) = shop.operator.get("/v1/admin/audit", params={"limit": 1}).json()
    assert (entry["action"], entry["request_id"], entry["status"]) == ("create_key", "by-hand-1", 201)


def test_a_page_is_one_request_of_a_tenants_rate(
    visitor: httpx.Client, platform: httpx.Client, shop: Shop
) -> None:
    path = f"/v1/admin/tenants/{shop.tenant}"
    assert platform.patch(path, json={"limits": {"requests_per_second": 1}}).status_code == 200
    # It asks three times. If each counted, none would ever be shown.
    answers = [visitor.get(f"/admin/tenants/{shop.tenant}").status_code for _ in range(8)]
    assert set(answers) == {200, 429}


def test_an_error_inside_is_logged(
    visitor: httpx.Client, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(_: Database) -> object:
        raise RuntimeError("a bug")

    monkeypatch.setattr(Database, "read", broken)
    answer = visitor.get("/admin/")
    assert answer.status_code == 500
    assert "Something went wrong on our side" in answer.text
    assert "a bug" not in answer.text
    (record,) = [record for record in caplog.records if record.name == Gateway.__module__]
    assert record.exc_info is not None
    assert "a bug" in str(record.exc_info[1])
