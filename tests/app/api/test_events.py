"""Events, and what is held of a user."""

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest
import redis
from sqlalchemy import select

from app.core.names import HISTORIES
from app.store.tables import Click
from tests.app.api.conftest import OPERATOR, Server, Shop, client, is_problem, serves, wait_for

BOOKS = "/v1/channels/books"


def send(writer: httpx.Client, *events: Any) -> dict[str, Any]:
    answer = writer.post(f"{BOOKS}/events", json={"events": events})
    assert answer.status_code == 200, answer.text
    return answer.json()  # type: ignore[no-any-return]


def recommend(reader: httpx.Client, user_id: str) -> dict[str, Any]:
    answer = reader.post(f"{BOOKS}/recommendations", json={"user_id": user_id, "count": 30})
    assert answer.status_code == 200, answer.text
    return answer.json()  # type: ignore[no-any-return]


def seen(reader: httpx.Client, user_id: str) -> set[str]:
    """The items that the service knows the user has met: those that are not recommended."""
    recommended = {item["item_id"] for item in recommend(reader, user_id)["items"]}
    return {f"i{n}" for n in range(30)} - recommended


def user(operator: httpx.Client, user_id: str, **query: Any) -> dict[str, Any]:
    answer = operator.get(f"/v1/users/{user_id}", params=query)
    assert answer.status_code == 200, answer.text
    return answer.json()  # type: ignore[no-any-return]


def test_each_event_has_its_outcome(shop: Shop) -> None:
    first = {"event_id": "e1", "user_id": "v", "item_id": "i1", "timestamp": 1_700_000_000}
    stored = send(
        shop.writer,
        first,
        {"user_id": "v", "item_id": "unknown"},
        "nonsense",
        first | {"item_id": "i2"},
        {"user_id": "v", "item_id": "i3", "timestamp": 1_700_000_000},
        {"user_id": "v", "item_id": "i4", "timestamp": "2999-01-01"},
        {"user_id": "v", "item_id": "i4", "recommendation_id": "rec_1"},
    )
    assert (stored["accepted"], stored["duplicates"]) == (2, 1)
    assert [each["index"] for each in stored["rejected"]] == [1, 2, 5, 6]
    assert all(each["reason"] for each in stored["rejected"])
    assert send(shop.writer, first) == {"accepted": 0, "duplicates": 1, "rejected": []}


def test_the_very_next_answer_reflects_an_event(shop: Shop) -> None:
    assert {item["reason"] for item in recommend(shop.reader, "new")["items"]} == {"cold_start"}
    for n in range(25):
        assert send(shop.writer, {"user_id": "new", "item_id": f"i{n}"})["accepted"] == 1
        answer = recommend(shop.reader, "new")
        assert len(answer["items"]) == 29 - n
        assert f"i{n}" not in {item["item_id"] for item in answer["items"]}
        assert {item["reason"] for item in answer["items"]} == {"model"}


def test_an_event_of_the_past_takes_its_place(shop: Shop) -> None:
    send(shop.writer, *({"user_id": user_id, "item_id": "i5", "timestamp": 900} for user_id in "xy"))
    send(shop.writer, {"user_id": "x", "item_id": "i9", "timestamp": 100})
    send(shop.writer, {"user_id": "y", "item_id": "i9", "timestamp": 9000})

    def scores(**body: object) -> list[tuple[str, Any]]:
        items = shop.reader.post(f"{BOOKS}/recommendations", json=body).json()["items"]
        return [(item["item_id"], pytest.approx(item["score"], abs=1e-4)) for item in items]

    assert scores(user_id="x") == scores(history=["i9", "i5"])
    assert scores(user_id="y") == scores(history=["i5", "i9"])
    assert scores(user_id="x") != scores(user_id="y")


def test_the_same_event_in_many_requests_at_once(shop: Shop) -> None:
    event = {"event_id": "once", "user_id": "v", "item_id": "i1"}
    with ThreadPoolExecutor(8) as pool:
        stored = list(pool.map(lambda _: send(shop.writer, event, event), range(24)))
    assert sum(each["accepted"] for each in stored) == 1
    assert sum(each["duplicates"] for each in stored) == 47
    assert len(user(shop.operator, "v")["interactions"]) == 1


def test_a_click_names_the_release_that_recommended(shop: Shop, server: Server) -> None:
    answer = recommend(shop.reader, "u0")
    event = {
        "user_id": "u0",
        "item_id": answer["items"][0]["item_id"],
        "recommendation_id": answer["recommendation_id"],
    }
    assert send(shop.writer, event)["accepted"] == 1
    with server.app.state.db.read() as s:
        (click,) = s.scalars(select(Click).where(Click.channel_id == shop.channel_id)).all()
    assert (click.recommendation_id, click.item_id) == (answer["recommendation_id"], event["item_id"])
    assert (click.version, click.variant) == (answer["release"]["version"], answer["variant"])


def test_events_become_popularity(shop: Shop) -> None:
    send(shop.writer, *({"user_id": f"p{n}", "item_id": "i29"} for n in range(50)))
    wait_for(lambda: recommend(shop.reader, "nobody")["items"][0]["item_id"] == "i29")
    assert recommend(shop.reader, "nobody")["items"][0]["score"] == 50


@pytest.mark.parametrize(
    "body", [{}, {"events": []}, {"events": [{}] * 1001}, {"events": "x"}, {"events": [{}], "more": 1}]
)
def test_a_bad_body_stores_nothing(shop: Shop, body: Any) -> None:
    assert is_problem(shop.writer.post(f"{BOOKS}/events", json=body), 422)


def test_a_body_that_is_too_long(shop: Shop) -> None:
    events = [{"user_id": "u", "item_id": "i1", "event_id": "e" * 1100}] * 1000
    assert is_problem(shop.writer.post(f"{BOOKS}/events", json={"events": events}), 413)


def test_who_may_send(shop: Shop, server: Server, platform: httpx.Client) -> None:
    body = {"events": [{"user_id": "v", "item_id": "i1"}]}
    assert is_problem(shop.reader.post(f"{BOOKS}/events", json=body), 403)
    assert is_problem(shop.writer.post("/v1/channels/films/events", json=body), 404)
    with client(server.url, None) as nobody, client(server.url, "tr_wrong") as wrong:
        assert is_problem(nobody.post(f"{BOOKS}/events", json=body), 401)
        assert is_problem(wrong.post(f"{BOOKS}/events", json=body), 401)
    assert platform.post(f"{BOOKS}/events?tenant={shop.tenant}", json=body).status_code == 200
    assert is_problem(platform.post(f"{BOOKS}/events?tenant=nosuch", json=body), 404)
    keys = platform.get(f"/v1/admin/tenants/{shop.tenant}/keys").json()
    (key,) = [each["id"] for each in keys if each["role"] == "writer"]
    platform.delete(f"/v1/admin/tenants/{shop.tenant}/keys/{key}")
    assert is_problem(shop.writer.post(f"{BOOKS}/events", json=body), 401)


def test_a_user_is_shown_deleted_and_gone(shop: Shop, server: Server) -> None:
    name = "org/7 ü"
    times = [1_700_000_000_000 + n for n in range(5)]
    send(shop.writer, *({"user_id": name, "item_id": f"i{n}", "timestamp": times[n]} for n in range(5)))
    assert seen(shop.reader, name) == {f"i{n}" for n in range(5)}
    shown = user(shop.operator, name)
    assert shown["channels"] == [
        {"channel": "books", "interactions": 5, "import_reports": 0, "in_redis": True, "in_process": True}
    ]
    assert [each["timestamp"] for each in shown["interactions"]] == times
    assert shown["next"] is None
    page = user(shop.operator, name, limit=3)
    rest = user(shop.operator, name, limit=3, after=page["next"])
    assert page["interactions"] + rest["interactions"] == shown["interactions"]
    assert rest["next"] is None
    deleted = shop.operator.delete("/v1/users/org%2F7 ü").json()
    assert deleted == {
        "user_id": name,
        "channels": [{"channel": "books", "interactions": 5, "import_reports": 0}],
    }
    assert user(shop.operator, name) == {
        "user_id": name, "channels": [], "interactions": [], "next": None,
    }  # fmt: skip
    with redis.Redis.from_url(server.settings.redis_url) as there:
        assert not [key for key in there.scan_iter(f"{HISTORIES}:*") if name in key.decode()]
    assert seen(shop.reader, name) == set()
    assert {item["reason"] for item in recommend(shop.reader, name)["items"]} == {"cold_start"}
    assert shop.operator.delete(f"/v1/users/{name}").json()["channels"] == []


def test_who_may_see_and_delete_a_user(shop: Shop, server: Server, platform: httpx.Client) -> None:
    for method in ("GET", "DELETE"):
        assert is_problem(shop.writer.request(method, "/v1/users/u0"), 403)
        assert is_problem(platform.request(method, "/v1/users/u0"), 422)
        assert is_problem(shop.operator.request(method, f"/v1/users/{'u' * 129}"), 422)
        assert is_problem(shop.operator.request(method, "/v1/users/"), 422)
    other = platform.post("/v1/admin/tenants", json={"name": f"{shop.tenant}-2"}).json()["name"]
    secret = platform.post(f"/v1/admin/tenants/{other}/keys", json={"role": "operator"}).json()["secret"]
    with client(server.url, secret) as stranger:
        assert user(stranger, "u0")["channels"] == []
        assert stranger.delete("/v1/users/u0").json()["channels"] == []
    assert len(user(shop.operator, "u0")["interactions"]) == 8
    with client(server.url, OPERATOR) as operator:
        shown = operator.get(f"/v1/users/u0?tenant={shop.tenant}").json()
    assert shown["channels"][0]["interactions"] == 8


def test_events_that_arrive_while_their_user_is_deleted(shop: Shop) -> None:
    """Each is deleted or stays whole, those from before are gone, and answers tell the same as the rows."""
    done = threading.Event()
    sent: list[str] = []

    def send_on() -> None:
        for n in range(2000):
            if done.is_set():
                return
            send(shop.writer, {"user_id": "busy", "item_id": f"i{n % 30}", "event_id": f"e{n}"})
            sent.append(f"e{n}")

    thread = threading.Thread(target=send_on)
    thread.start()
    try:
        for _ in range(5):
            wait_for(lambda: len(sent) % 7 == 3)
            before = set(sent)
            assert shop.operator.delete("/v1/users/busy").status_code == 200
            left = user(shop.operator, "busy", limit=1000)["interactions"]
            assert not before & {each["event_id"] for each in left}
    finally:
        done.set()
        thread.join()
    kept = {each["item_id"] for each in user(shop.operator, "busy", limit=1000)["interactions"]}
    assert seen(shop.reader, "busy") == kept or len(kept) == 30
    shop.operator.delete("/v1/users/busy")
    assert seen(shop.reader, "busy") == set()
    assert user(shop.operator, "busy")["channels"] != []  # the empty history that was just asked for
    assert user(shop.operator, "busy")["interactions"] == []
    wait_for(lambda: serves(shop.reader, 0, 3))
