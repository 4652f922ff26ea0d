"""Keys over HTTP: rotation, expiry, the platform's own; wrong ones are counted."""

import time
from collections.abc import Iterator
from datetime import timedelta
from itertools import count

import httpx
import pytest

from app.core.clock import now
from tests.app.api.conftest import Server, Shop, client, is_problem

REC = "/v1/channels/books/recommendations"
ADDRESSES = count(50)


@pytest.fixture
def stranger(server: Server) -> Iterator[httpx.Client]:
    """A client with a wrong key, from an address that no other test comes from."""
    transport = httpx.HTTPTransport(local_address=f"127.0.0.{next(ADDRESSES)}")
    headers = {"Authorization": "Bearer tr_wrong-wrong-wrong"}
    with httpx.Client(base_url=server.url, transport=transport, headers=headers) as opened:
        yield opened


def test_rotation(server: Server, shop: Shop) -> None:
    keys = f"/v1/admin/tenants/{shop.tenant}/keys"
    made = shop.operator.post(keys, json={"role": "reader", "label": "x"}).json()
    with client(server.url, made["secret"]) as guest:
        assert guest.post(REC, json={"history": ["i1"]}).status_code == 200
        graced = shop.operator.post(f"{keys}/{made['id']}/rotate", json={"grace_seconds": 60})
        assert graced.status_code == 201
        assert graced.json()["secret"] != made["secret"]
        assert (graced.json()["role"], graced.json()["label"]) == ("reader", "x")
        assert guest.get("/v1/channels").status_code == 200
        again = shop.operator.post(f"{keys}/{made['id']}/rotate").json()
        assert is_problem(guest.get("/v1/channels"), 401)
        assert is_problem(guest.post(REC, json={"history": ["i1"]}), 401)
    with client(server.url, again["secret"]) as guest:
        assert guest.get("/v1/channels").status_code == 200
    assert is_problem(shop.operator.post(f"{keys}/{made['id']}/rotate"), 409)
    assert is_problem(shop.operator.post(f"{keys}/key_x/rotate"), 404)
    for bad in (-1, 30 * 86_400 + 1, "soon"):
        wrong = {"grace_seconds": bad}
        assert is_problem(shop.operator.post(f"{keys}/{again['id']}/rotate", json=wrong), 422)
    shown = shop.operator.get(keys).text
    assert again["secret"] not in shown
    assert made["secret"] not in shown


def test_a_key_ends_by_itself_also_where_it_is_remembered(server: Server, shop: Shop) -> None:
    keys = f"/v1/admin/tenants/{shop.tenant}/keys"
    end = now() + timedelta(seconds=1.5)
    made = shop.operator.post(keys, json={"expires_at": end.isoformat()}).json()
    with client(server.url, made["secret"]) as guest:
        assert guest.post(REC, json={"history": ["i1"]}).status_code == 200
        while now() < end:
            last = guest.post(REC, json={"history": ["i1"]})
            time.sleep(0.02)
        assert last.status_code == 200
        assert is_problem(guest.post(REC, json={"history": ["i1"]}), 401)
        assert is_problem(guest.get("/v1/channels"), 401)
    for bad in ("2020-01-01T00:00:00Z", "2090-01-01T00:00:00", "tomorrow"):
        assert is_problem(shop.operator.post(keys, json={"expires_at": bad}), 422)


def test_the_platforms_own_keys(server: Server, shop: Shop, platform: httpx.Client) -> None:
    keys = "/v1/admin/keys"
    assert is_problem(shop.operator.get(keys), 403)
    made = platform.post(keys, json={"label": "second"}).json()
    assert made["role"] == "operator"
    with client(server.url, made["secret"]) as second:
        assert second.get("/v1/admin/tenants").status_code == 200
        new = second.post(f"{keys}/{made['id']}/rotate").json()
        assert is_problem(second.get("/v1/admin/tenants"), 401)
    listed = {key["id"]: key for key in platform.get(keys).json()}
    assert listed[made["id"]]["revoked_at"]
    lasting = [id_ for id_, key in listed.items() if not key["revoked_at"] and not key["expires_at"]]
    assert len(lasting) == 2
    assert platform.delete(f"{keys}/{new['id']}").json()["revoked_at"]
    assert is_problem(platform.delete(f"{keys}/{(set(lasting) - {new['id']}).pop()}"), 409)
    tenants_key = shop.operator.get(f"/v1/admin/tenants/{shop.tenant}/keys").json()[0]["id"]
    assert is_problem(platform.delete(f"{keys}/{tenants_key}"), 404)
    assert is_problem(platform.post(f"{keys}/{tenants_key}/rotate"), 404)


def test_wrong_keys_are_counted(server: Server, shop: Shop, stranger: httpx.Client) -> None:
    right = shop.reader.headers["Authorization"]
    assert stranger.get("/v1/channels", headers={"Authorization": right}).status_code == 200
    statuses = [stranger.post(REC, json={"history": []}).status_code for _ in range(10)]
    statuses += [stranger.get("/v1/channels").status_code for _ in range(5)]
    statuses += [stranger.post("/v1/admin/channels", json={"name": "x"}).status_code for _ in range(5)]
    assert set(statuses) == {401}
    for refused in (
        stranger.get("/v1/channels"),
        stranger.post(REC, json={"history": []}),
        stranger.delete("/v1/channels/books/items/i1"),
    ):
        assert is_problem(refused, 429)
        assert refused.headers["retry-after"] == "60"
    # Other addresses go on, and so does a key of this one that was right before.
    assert shop.reader.get("/v1/channels").status_code == 200
    assert stranger.get("/v1/channels", headers={"Authorization": right}).status_code == 200
    assert stranger.post(REC, json={"history": []}, headers={"Authorization": right}).status_code == 200


def test_what_a_right_key_may_not_do_is_no_guess(shop: Shop) -> None:
    for _ in range(30):
        assert shop.reader.get("/v1/channels/nowhere").status_code == 404
        assert shop.reader.get("/v1/admin/channels/books/adapters").status_code == 403
