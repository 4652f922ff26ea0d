"""The audit of the control plane over HTTP."""

import sqlite3
from contextlib import closing
from typing import Any

import httpx
import pytest

from tests.app.api.conftest import OPERATOR, Server, Shop, is_problem, send

AUDIT = "/v1/admin/audit"
RELEASES = "/v1/admin/channels/books/releases"


def acts(client: httpx.Client, **asked: Any) -> list[dict[str, Any]]:
    answer = client.get(AUDIT, params=asked)
    assert answer.status_code == 200, answer.text
    found: list[dict[str, Any]] = answer.json()
    return found


def test_who_did_what(shop: Shop, platform: httpx.Client) -> None:
    body = {"version": 0, "reason": "back to the start"}
    answer = shop.operator.post(f"{RELEASES}/promote", json=body, headers={"X-Request-ID": "req-42"})
    (act,) = acts(shop.operator, action="promote")
    assert act["status"] == answer.status_code == 200
    assert act["detail"] == {"body": body}
    assert (act["channel"], act["request_id"]) == ("books", "req-42")
    keys = shop.operator.get(f"/v1/admin/tenants/{shop.tenant}/keys").json()
    assert act["actor"] in {key["id"] for key in keys}
    # What the fixture did: the platform made the keys, the tenant the rest.
    done = [(a["action"], a["status"]) for a in acts(shop.operator)]
    assert done[1:] == [("create_import", 201)] * 2 + [("create_channel", 201)] + [("create_key", 201)] * 3
    assert acts(shop.operator, action="create_import")[1]["detail"]["query"] == {
        "kind": "items",
        "format": "csv",
    }
    assert acts(platform, tenant=shop.tenant) == acts(shop.operator)
    assert acts(platform, action="create_tenant")[0]["detail"]["body"] == {"name": shop.tenant}


def test_refused_attempts_are_written_down(shop: Shop, platform: httpx.Client) -> None:
    shop.writer.post("/v1/admin/channels", json={"name": "x"})
    shop.operator.post("/v1/admin/channels", json={"name": "x", "colour": "red"})
    shop.operator.post("/v1/admin/channels", json={"name": "books"})
    shop.operator.post(
        "/v1/admin/channels", content=b"{nonsense", headers={"content-type": "application/json"}
    )
    shop.operator.delete("/v1/admin/channels/nowhere")
    shop.writer.delete("/v1/channels/books/items/nowhere")
    shop.writer.post("/v1/channels/books/items/delete", json={"item_ids": ["i1"]})
    found = [(act["action"], act["status"]) for act in acts(shop.operator, limit=7)]
    assert found[::-1] == [
        ("create_channel", 403),
        ("create_channel", 422),
        ("create_channel", 409),
        ("create_channel", 422),
        ("delete_channel", 404),
        ("delete_item", 404),
        ("delete_items", 200),
    ]
    item = acts(shop.operator, action="delete_item")[0]
    assert item["detail"] == {"target": {"item_id": "nowhere"}}


def test_pages(shop: Shop) -> None:
    everything = acts(shop.operator)
    first = acts(shop.operator, limit=4)
    rest = acts(shop.operator, before=first[-1]["id"])
    assert [*first, *rest] == everything
    assert [act["action"] for act in acts(shop.operator, channel="books", action="create_import")] == [
        "create_import"
    ] * 2


def test_nobody_sees_anothers(server: Server, shop: Shop, platform: httpx.Client) -> None:
    assert is_problem(shop.writer.get(AUDIT), 403)
    assert is_problem(shop.operator.get(AUDIT, params={"tenant": f"o{shop.tenant}"}), 404)
    own = acts(shop.operator, tenant=shop.tenant)
    assert own
    assert {act["tenant_id"] for act in own} == {own[0]["tenant_id"]}
    assert acts(platform, tenant=own[0]["tenant_id"]) == own  # by id: after the tenant is gone
    assert is_problem(shop.operator.get(AUDIT, params={"limit": 0}), 422)


def test_a_deleted_tenants_acts_stay(shop: Shop, platform: httpx.Client) -> None:
    before = acts(platform, tenant=shop.tenant)
    platform.delete(f"/v1/admin/tenants/{shop.tenant}", params={"confirm": shop.tenant})
    after = acts(platform, tenant=before[0]["tenant_id"])
    assert after[1:] == [{**act, "tenant": None} for act in before]
    assert {act["tenant"] for act in before} == {shop.tenant}
    assert (after[0]["action"], after[0]["status"]) == ("delete_tenant", 204)


@pytest.mark.parametrize(
    ("body", "kept"),
    [
        (b'{"name": "' + b"x" * 5000 + b'"}', {"body_bytes": 5012}),
        (b'{"name": "\\ud800\\u0000"}', {"body": {"name": "?\0"}}),
        (b'{"name": NaN}', {"body": "no JSON"}),
        (b"[" * 4000, {"body": "no JSON"}),
        (b'{"name": "' + b"x" * 2**20 + b'"}', {}),
        (
            b'{"name": "x", "label": "' + OPERATOR.encode() + b'"}',
            {"body": {"name": "x", "label": "[redacted]"}},
        ),
    ],
)
def test_odd_bodies(shop: Shop, body: bytes, kept: dict[str, Any]) -> None:
    answer = shop.writer.post(
        "/v1/admin/channels", content=body, headers={"content-type": "application/json"}
    )
    act = acts(shop.operator, limit=1)[0]
    assert act["status"] == answer.status_code
    assert act["detail"] == kept


def test_what_cannot_be_written_down_is_not_done(server: Server, shop: Shop) -> None:
    engine = server.app.state.db.engine
    with pytest.MonkeyPatch.context() as patch, closing(sqlite3.connect(engine.url.database)) as other:
        patch.setattr("app.store.db._BUSY_SECONDS", 0)  # nobody waits for the lock
        engine.dispose()
        other.execute("BEGIN IMMEDIATE")
        failed = shop.operator.post("/v1/admin/channels", json={"name": "films"})
    engine.dispose()
    assert is_problem(failed, 503)
    assert [channel["name"] for channel in shop.reader.get("/v1/channels").json()] == ["books"]


def test_secrets_are_not_in_it(shop: Shop) -> None:
    send(shop.writer, "items", "item_id,text\nx,thing\n")
    key = shop.operator.post(f"/v1/admin/tenants/{shop.tenant}/keys", json={"label": "x"}).json()
    assert key["secret"] not in shop.operator.get(AUDIT).text
