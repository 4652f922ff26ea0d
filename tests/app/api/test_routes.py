"""Every route of the OpenAPI description, new ones too: who may not, gets nothing, not even a hint."""

from dataclasses import dataclass
from typing import Any

import httpx
from pytest import Subtests

from app.api.audited import Audited
from app.main import ROUTERS, create_app
from tests.app.api.conftest import Server, Shop, client

OPEN = ("/health/", "/metrics", "/docs", "/openapi.json")  # nobody needs a key there
Query = dict[str, str]
OWN = "/v1/me"  # says only what the key's holder is
READERS = ("/recommendations",)  # what a reader may POST


@dataclass(frozen=True)
class Operation:
    """A route with made-up ids for all but the tenant and the channel."""

    method: str
    path: str
    name: str
    query: dict[str, Any]
    names_tenant: bool

    def ask(self, client: httpx.Client, tenant: str, channel: str, more: Query) -> httpx.Response:
        path = self.path.replace("{tenant}", tenant).replace("{channel}", channel)
        answer = client.request(self.method, path, params=self.query | more)
        assert answer.status_code < 500, (self, answer.text)
        return answer


def operations() -> list[Operation]:
    paths = create_app().openapi()["paths"]
    found = [
        operation(method.upper(), path, described)
        for path, methods in paths.items()
        for method, described in methods.items()
        if not path.startswith(OPEN)
    ]
    assert len(found) > 35
    return found


def operation(method: str, path: str, described: dict[str, Any]) -> Operation:
    query: dict[str, Any] = {}
    names_tenant = "{tenant}" in path
    for parameter in described.get("parameters", ()):
        name, schema = parameter["name"], parameter["schema"]
        if parameter["in"] == "path" and name not in ("tenant", "channel"):
            path = path.replace(f"{{{name}}}", "1" if schema.get("type") == "integer" else "x1")
        elif parameter["in"] == "query" and parameter["required"]:
            query[name] = "items" if name == "kind" else "x1"
        names_tenant |= name == "tenant"
    return Operation(method, path, described["operationId"], query, names_tenant)


def strangers(url: str, number: int) -> list[httpx.Client]:
    """Clients with a wrong key, from addresses of their own, for wrong keys are counted."""
    addresses = [f"127.0.1.{n}" for n in range(1, number + 1)]
    headers = {"Authorization": "Bearer tr_wrong-wrong-wrong"}
    return [
        httpx.Client(base_url=url, headers=headers, transport=httpx.HTTPTransport(local_address=address))
        for address in addresses
    ]


def test_without_a_key_or_with_a_wrong_one(server: Server, shop: Shop, subtests: Subtests) -> None:
    routes = operations()
    for number, stranger in enumerate(strangers(server.url, len(routes) // 10 + 1)):
        with stranger, client(server.url, None) as nobody:
            for op in routes[10 * number : 10 * number + 10]:
                with subtests.test(f"{op.method} {op.path}"):
                    assert op.ask(nobody, shop.tenant, "books", {}).status_code == 401
                    assert op.ask(stranger, shop.tenant, "books", {}).status_code == 401


def test_another_tenants_key(server: Server, shop: Shop, platform: httpx.Client, subtests: Subtests) -> None:
    other = platform.post("/v1/admin/tenants", json={"name": f"o{shop.tenant}"}).json()["name"]
    secret = platform.post(f"/v1/admin/tenants/{other}/keys", json={"role": "operator"}).json()["secret"]
    with client(server.url, secret) as foreign:
        for op in operations():
            with subtests.test(f"{op.method} {op.path}"):
                # What names neither works in the key's own tenant.
                if op.path != OWN and ("{" in op.path or not op.names_tenant):
                    gives_no_hint(op, foreign, shop.tenant, {}, {})
                if op.names_tenant and "{tenant}" not in op.path:
                    gives_no_hint(op, foreign, shop.tenant, {"tenant": shop.tenant}, {"tenant": "nowhere"})


def gives_no_hint(op: Operation, foreign: httpx.Client, tenant: str, theirs: Query, none: Query) -> None:
    """Another tenant's thing is answered as one that is nowhere."""
    there, nowhere = op.ask(foreign, tenant, "books", theirs), op.ask(foreign, "nowhere", "nochannel", none)
    assert there.status_code == nowhere.status_code
    assert there.status_code in ((403, 404) if op.path.startswith("/v1/admin") else (404,))
    said = there.text.replace(tenant, "nowhere").replace("books", "nochannel")
    assert said.replace(there.headers["x-request-id"], nowhere.headers["x-request-id"]) == nowhere.text


def test_too_low_a_role(shop: Shop, subtests: Subtests) -> None:
    for op in operations():
        with subtests.test(f"{op.method} {op.path}"):
            if op.path.startswith("/v1/admin"):
                for low in (shop.reader, shop.writer):
                    assert op.ask(low, shop.tenant, "books", {}).status_code == 403
            elif op.method != "GET" and not any(part in op.path for part in READERS):
                assert op.ask(shop.reader, shop.tenant, "books", {}).status_code == 403


def test_every_act_is_audited(shop: Shop, platform: httpx.Client, subtests: Subtests) -> None:
    for op in operations():
        if op.method == "GET" or not (op.method == "DELETE" or is_act(op.path)):
            continue
        with subtests.test(f"{op.method} {op.path}"):
            answer = op.ask(shop.operator, shop.tenant, "books", {})
            entry = platform.get("/v1/admin/audit", params={"limit": 1}).json()[0]
            assert op.name.startswith(f"{entry['action']}_v1")
            assert entry["status"] == answer.status_code
            assert entry["channel"] == ("books" if "{channel}" in op.path else None)


def is_act(path: str) -> bool:
    return path.startswith("/v1/admin") or path.endswith(("/imports", "/delete"))


def test_acts_are_declared_as_such() -> None:
    """The same by their class: what asks for nothing more than the right router."""
    for module in ROUTERS:
        for route in module.router.routes:
            path, methods = str(getattr(route, "path", "")), set[str](getattr(route, "methods", ()))
            if methods != {"GET"} and (is_act(path) or "DELETE" in methods):
                assert isinstance(route, Audited), f"{methods} {path}: route_class=Audited is missing"
