"""Channels at a glance, over HTTP."""

from typing import Any

import httpx
import pytest

from app.core import metrics
from app.serving.overview import Now, health_of
from app.store.overview import LastJob
from app.store.tallies import Tally
from tests.app.api.conftest import Server, Shop, client, is_problem, send, wait_for

OVERVIEW = "/v1/admin/overview"
BOOKS = "/v1/admin/channels/books"
ASK = "/v1/channels/books/recommendations"


def look(operator: httpx.Client, **query: Any) -> Any:
    answer = operator.get(OVERVIEW, params=query)
    assert answer.status_code == 200, answer.text
    return answer.json()


def names(found: Any) -> list[str]:
    return [channel["name"] for channel in found["channels"]]


def make(shop: Shop, *channels: str) -> None:
    for name in channels:
        assert shop.operator.post("/v1/admin/channels", json={"name": name}).status_code == 201


def test_a_channel_at_a_glance(shop: Shop) -> None:
    wait_for(lambda: look(shop.operator)["channels"][0]["health"] == "ok")
    found = look(shop.operator)
    [books] = found["channels"]
    assert (found["found"], found["next"]) == (1, None)
    assert (books["tenant"], books["name"], books["modality"]) == (shop.tenant, "books", "text")
    assert (books["items"], books["interactions"]) == (30, 24)
    assert books["champion"] == {"version": 0, "method": "zero-shot", "digest": None}
    assert books["scores"] is books["challenger"] is books["job"] is None
    assert books["last_import"]["kind"] == "interactions"
    assert books["changed_at"] == books["last_import"]["created_at"]
    assert books["serving"]["failure"] is None
    assert found["summary"]["channels"] == found["summary"]["ready"] == 1
    assert found["summary"]["health"] == {"failed": 0, "empty": 0, "behind": 0, "training": 0, "ok": 1}
    assert shop.operator.get(f"{BOOKS}/overview").json() == books


def test_traffic_and_clicks_are_shown(shop: Shop, server: Server) -> None:
    given = [shop.reader.post(ASK, json={"user_id": "u1", "count": 3}).json() for _ in range(4)]
    click = {
        "user_id": "u1",
        "item_id": given[0]["items"][0]["item_id"],
        "recommendation_id": given[0]["recommendation_id"],
    }
    sent = shop.writer.post("/v1/channels/books/events", json={"events": [click]})
    assert sent.json()["accepted"] == 1
    server.app.state.traffic.flush()
    [books] = look(shop.operator)["channels"]
    assert books["recommendations_hour"] == 4
    assert (books["day"]["recommendations"], books["day"]["clicked"], books["day"]["ctr"]) == (4, 1, 0.25)
    assert len(books["hourly"]) == 24
    assert sum(books["hourly"]) == books["hourly"][-1] == 4
    assert books["interactions"] == 25
    hours = shop.operator.get(f"{BOOKS}/traffic", params={"hours": 2}).json()
    assert [hour["champion"]["recommendations"] for hour in hours] == [0, 4]
    assert hours[-1]["champion"]["clicked"] == 1
    assert hours[-1]["challenger"]["ctr"] is None
    assert look(shop.operator)["summary"]["latency"]["requests"] >= 4
    assert is_problem(shop.operator.get(f"{BOOKS}/traffic", params={"hours": 0}), 422)
    assert is_problem(shop.operator.get("/v1/admin/channels/nothing/traffic"), 404)


def test_search_order_and_pages(shop: Shop) -> None:
    make(shop, "apples", "pears", "plums")
    operator = shop.operator
    assert names(look(operator)) == ["apples", "books", "pears", "plums"]
    assert names(look(operator, sort="-name")) == ["plums", "pears", "books", "apples"]
    assert names(look(operator, sort="-items")) == ["books", "apples", "pears", "plums"]
    assert names(look(operator, sort="items"))[-1] == "books"
    assert names(look(operator, search="P L")) == ["apples", "plums"]
    assert look(operator, search="nothing of the kind")["found"] == 0
    assert look(operator, search="plums")["summary"]["channels"] == 4
    page = look(operator, limit=3)
    assert (names(page), page["found"]) == (["apples", "books", "pears"], 4)
    rest = look(operator, limit=3, after=page["next"])
    assert (names(rest), rest["next"]) == (["plums"], None)
    assert is_problem(operator.get(OVERVIEW, params={"after": "chn_gone"}), 404)
    assert is_problem(operator.get(OVERVIEW, params={"sort": "colour"}), 422)
    wait_for(lambda: {c["name"] for c in look(operator, search="empty")["channels"]} >= {"plums"})


@pytest.mark.parametrize("key", ["name", "health", "items", "interactions", "hr10", "lift"])
@pytest.mark.parametrize("way", ["", "-"])
def test_every_order_has_every_channel(shop: Shop, key: str, way: str) -> None:
    make(shop, "pears")
    assert sorted(names(look(shop.operator, sort=way + key))) == ["books", "pears"]


def test_a_tenant_sees_its_own_and_the_platform_all(
    server: Server, shop: Shop, platform: httpx.Client
) -> None:
    other = f"o{shop.tenant}"
    assert platform.post("/v1/admin/tenants", json={"name": other}).status_code == 201
    secret = platform.post(f"/v1/admin/tenants/{other}/keys", json={"role": "operator"}).json()["secret"]
    with client(server.url, secret) as stranger:
        assert look(stranger)["channels"] == []
        assert is_problem(stranger.get(OVERVIEW, params={"tenant": shop.tenant}), 404)
    assert shop.tenant in {c["tenant"] for c in look(platform, search=shop.tenant)["channels"]}
    assert [c["tenant"] for c in look(platform, tenant=shop.tenant)["channels"]] == [shop.tenant]
    assert look(platform, tenant=other)["found"] == 0
    assert is_problem(platform.get(OVERVIEW, params={"tenant": "nowhere"}), 404)
    assert is_problem(shop.reader.get(OVERVIEW), 403)


def test_a_job_and_its_failure_show(shop: Shop, server: Server) -> None:
    send(shop.writer, "items", "item_id,text\nnew,something new\n")
    assert shop.operator.post(f"{BOOKS}/training-jobs", json={}).status_code == 202
    wait_for(lambda: look(shop.operator)["channels"][0]["health"] == "training")
    found = look(shop.operator)
    assert found["summary"]["jobs_open"] == 1
    job = found["channels"][0]["job"]
    assert job["state"] == "PENDING"
    assert shop.operator.post(f"{BOOKS}/training-jobs/{job['id']}/cancel").is_success
    assert look(shop.operator)["channels"][0]["health"] == "ok"


def test_health_is_the_worst_that_is_so() -> None:
    full, empty = Tally(1, 0, 1), Tally(0, 0, 0)
    fine, old, broken = Now(2, False, None), Now(1, True, None), Now(1, True, "no room")
    away = Now(None, True, None)

    def job(state: str) -> LastJob:
        return LastJob("job_1", state, "out of memory", None, None)  # type: ignore[arg-type]

    assert health_of(full, fine, None)[0] == "ok"
    assert health_of(full, fine, job("SUCCEEDED"))[0] == "ok"
    assert health_of(full, fine, job("PENDING")) == ("training", "A training job waits.")
    assert health_of(full, fine, job("RUNNING")) == ("training", "A training job runs.")
    assert health_of(full, fine, job("FAILED"))[1].endswith("out of memory")
    assert health_of(full, old, job("RUNNING"))[0] == "behind"
    assert "does not answer" in health_of(full, away, None)[1]
    assert health_of(empty, fine, None)[0] == "empty"
    assert health_of(empty, broken, None) == ("failed", "Its newest release could not be built: no room")


def test_latency_is_read_off_the_histogram() -> None:
    route = "/a/route/of/this/test"
    assert metrics.latency("GET", route).ms(0.5) is None
    for seconds in [0.004] * 98 + [0.2, 60.0]:
        metrics.answered("GET", route, 200, seconds)
    found = metrics.latency("GET", route)
    assert found.count == 100
    assert 2.5 <= (found.ms(0.5) or 0) <= 5
    assert 100 <= (found.ms(0.99) or 0) <= 250
    assert found.ms(1.0) == 10_000  # beyond the last bound
