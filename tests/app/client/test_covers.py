"""The client has a method for every route of the API."""

import inspect
import re
from typing import Any

from app.client import calls
from app.client.call import Call
from app.client.operations import Operation, Operations
from app.main import create_app

EXAMPLES: dict[str, Any] = {
    "channel": "c", "name": "n", "tenant": "t", "key_id": "k", "item_id": "i", "user_id": "u", "job_id": "j",
    "import_id": "m", "recommendation_id": "r", "version": 1, "source": b"x", "text": "x", "limits": {},
    "events": [{"user_id": "u", "item_id": "i"}], "requests": [{"user_id": "u"}], "item_ids": ["i"],
    "items": [{"item_id": "i", "text": "x"}], "description": "d",
}  # fmt: skip
MORE: dict[str, dict[str, Any]] = {
    "keys": {"tenant": "t"},
    "recommend": {"user_id": "u"},
    "preview": {"user_id": "u"},
    "import_items": {"format": "csv"},
    "import_interactions": {"format": "csv"},
    "import_images": {"format": "zip"},
    "set_training_policy": {"every_hours": 1},
    "set_challenger": {"shadow": True},
}
NOT_FOR_CLIENTS = ("/metrics", "/health/live", "/health/empty")  # probes and scrapes
OF_THE_PLATFORM: list[Call[Any]] = [  # the same methods without a tenant
    calls.tenants.keys(None),
    calls.tenants.create_key(None),
    calls.tenants.revoke_key(None, "k"),
    calls.tenants.rotate_key(None, "k"),
]


def described(name: str, operation: Operation[..., Any]) -> Call[Any]:
    parameters = inspect.signature(operation.describe).parameters.values()
    needed = {each.name: EXAMPLES[each.name] for each in parameters if each.default is each.empty}
    return operation.describe(**(needed | MORE.get(name, {})))


def test_every_route_has_a_method_and_every_method_a_route() -> None:
    routes = {
        (method.upper(), path)
        for path, methods in create_app().openapi()["paths"].items()
        for method in methods
        if path not in NOT_FOR_CLIENTS
    }
    found = {
        name: described(name, each) for name, each in vars(Operations).items() if isinstance(each, Operation)
    }
    asked = {(call.method, call.path) for call in [*found.values(), *OF_THE_PLATFORM]}
    asked.add(("GET", calls.jobs.path("c", "j", "events")))  # `follow`
    met = {route: {each for each in asked if leads_to(each, route)} for route in routes}
    assert {route for route, by in met.items() if not by} == set(), "routes without a method"
    assert asked - set().union(*met.values()) == set(), "methods without a route"


def leads_to(asked: tuple[str, str], route: tuple[str, str]) -> bool:
    """Fixed words of a route are longer than the examples, which are a letter each."""
    pattern = re.sub(r"\{\w+\}", r"\\w", route[1])
    return asked[0] == route[0] and re.fullmatch(pattern, asked[1]) is not None
