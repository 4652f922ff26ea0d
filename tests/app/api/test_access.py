"""Who may do what, and how a refusal looks."""

import httpx
import pytest

from tests.app.api.conftest import Server, Shop, client, is_problem

REC = "/v1/channels/books/recommendations"


def test_keys(server: Server, shop: Shop, platform: httpx.Client) -> None:
    for sent in (b"", b"Bearer", b"Bearer tr_wrong", b"Bearer \xe4", b"Basic eDp5"):
        with client(server.url, None) as stranger:
            answer = stranger.post(REC, json={"history": []}, headers={b"authorization": sent})
        assert is_problem(answer, 401)
        assert answer.headers["www-authenticate"] == "Bearer"
    keys = f"/v1/admin/tenants/{shop.tenant}/keys"
    made = shop.operator.post(keys, json={"role": "reader", "label": "x"}).json()
    with client(server.url, made["secret"]) as guest:
        assert guest.get("/v1/channels").status_code == 200
        assert shop.operator.delete(f"{keys}/{made['id']}").json()["revoked_at"]
        assert is_problem(guest.get("/v1/channels"), 401)
    assert made["secret"] not in shop.operator.get(keys).text
    assert is_problem(shop.operator.delete(f"{keys}/key_x"), 404)


def test_roles(shop: Shop) -> None:
    assert is_problem(shop.writer.post("/v1/admin/channels", json={"name": "x"}), 403)
    assert is_problem(shop.reader.post("/v1/channels/books/imports?kind=items&format=csv", content=b"x"), 403)
    assert is_problem(shop.writer.get("/v1/admin/channels/books/adapters"), 403)
    assert is_problem(shop.operator.get("/v1/admin/tenants"), 403)
    assert is_problem(shop.reader.get(f"/v1/admin/tenants/{shop.tenant}/keys"), 403)


def test_tenants_do_not_see_each_other(server: Server, shop: Shop, platform: httpx.Client) -> None:
    other = platform.post("/v1/admin/tenants", json={"name": f"o{shop.tenant}"}).json()["name"]
    secret = platform.post(f"/v1/admin/tenants/{other}/keys", json={"role": "operator"}).json()["secret"]
    with client(server.url, secret) as foreign:
        assert is_problem(foreign.get("/v1/channels/books"), 404)
        assert is_problem(foreign.post(REC, json={"history": []}), 404)
        assert is_problem(foreign.get(f"/v1/channels/books?tenant={shop.tenant}"), 404)
        assert is_problem(foreign.get(f"/v1/admin/tenants/{shop.tenant}/keys"), 404)
        assert foreign.get("/v1/channels").json() == []
    assert is_problem(platform.get("/v1/channels/books"), 422)
    assert platform.get(f"/v1/channels/books?tenant={shop.tenant}").json()["items"] == 30


@pytest.mark.parametrize(
    ("method", "path", "options", "status"),
    [
        ("GET", "/nowhere", {}, 404),
        ("GET", "/v1/channels/nowhere", {}, 404),
        ("GET", "/v1/channels/boo%00ks", {}, 404),
        ("GET", "/v1/channels/books/items/x%00", {}, 404),
        ("GET", "/v1/channels/books/items/x", {}, 404),
        ("GET", "/v1/channels/books/items/x/similar", {}, 404),
        ("GET", "/v1/channels/books/items/i1/similar?count=0", {}, 422),
        ("GET", "/v1/channels/books/imports/imp_x", {}, 404),
        ("DELETE", "/v1/channels/books", {}, 405),
        ("POST", REC, {"json": {}}, 422),
        ("POST", REC, {"json": {"history": [], "user_id": "u"}}, 422),
        ("POST", REC, {"json": {"history": [], "colour": 1}}, 422),
        ("POST", REC, {"json": {"history": [], "count": 0}}, 422),
        ("POST", REC, {"json": {"history": [], "count": 501}}, 422),
        ("POST", REC, {"json": {"history": ["i1"] * 1001}}, 422),
        ("POST", REC, {"json": {"user_id": "\0"}}, 422),
        ("POST", REC, {"json": {"history": ["nowhere"]}}, 404),
        ("POST", REC, {"content": b"{nonsense"}, 422),
        ("POST", REC, {"content": b'{"history": ["' + b"x" * 2**20 + b'"]}'}, 413),
        ("POST", "/v1/channels/books/imports?kind=pictures", {}, 403),
        ("POST", "/v1/admin/channels", {"json": {"name": "Bad Name"}}, 403),
    ],
)
def test_errors(shop: Shop, method: str, path: str, options: dict[str, object], status: int) -> None:
    headers = {"content-type": "application/json"}
    answer = shop.reader.request(method, path, headers=headers, **options)  # type: ignore[arg-type]
    assert is_problem(answer, status)


def test_openapi_lists_every_route(server: Server) -> None:
    with client(server.url, None) as anyone:
        description = anyone.get("/openapi.json").json()
    assert description["info"]["title"] == "TransRec Serve"
    listed = {f"{m.upper()} {p}" for p, methods in description["paths"].items() for m in methods}
    for route in (
        "POST /v1/admin/tenants",
        "DELETE /v1/admin/tenants/{tenant}/keys/{key_id}",
        "POST /v1/channels/{channel}/imports",
        "POST /v1/channels/{channel}/recommendations",
        "GET /v1/channels/{channel}/items/{item_id}/similar",
        "POST /v1/admin/channels/{channel}/training-jobs/{job_id}/cancel",
        "GET /v1/admin/channels/{channel}/adapters/{version}/weights",
        "POST /v1/admin/channels/{channel}/releases/rollback",
        "GET /health/ready",
    ):
        assert route in listed


def test_health(server: Server, shop: Shop) -> None:
    with client(server.url, None) as anyone:
        assert anyone.get("/health/live").json() == {"status": "live"}
        assert anyone.get("/health/empty").json() == {}
        ready = anyone.get("/health/ready").json()
        assert (ready["status"], ready["redis"], ready["database"]) == ("ready", "reachable", "reachable")
        engine = server.app.state.engine
        kept = engine.live.pop(shop.channel_id)
        try:
            answer = anyone.get("/health/ready")
            unloaded = shop.reader.post(REC, json={"history": []})
        finally:
            engine.live.setdefault(shop.channel_id, kept)
    assert {answer.status_code, unloaded.status_code} <= {200, 503}  # the next poll may have loaded it
    if answer.status_code == 503:
        assert is_problem(answer, 503)
        assert answer.json()["missing"] == [shop.channel_id]
        assert answer.headers["retry-after"]
