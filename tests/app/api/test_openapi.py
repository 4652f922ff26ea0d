"""The whole API against its own OpenAPI description: no 5xx, and no answer that it does not describe.

Schemathesis sends what the description allows and what it does not, most of it to a channel that is there.
"""

from typing import Any

import schemathesis
from hypothesis import HealthCheck, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from app.core.config import Settings
from app.main import create_app
from tests.app.api.conftest import OPERATOR, Server, Shop

CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]
EXAMPLES = 20  # a route


schema = schemathesis.openapi.from_dict(create_app(Settings()).openapi())


@schema.parametrize()
@settings(
    max_examples=EXAMPLES,
    deadline=None,
    derandomize=True,
    suppress_health_check=list(HealthCheck),
)
def test_every_answer_is_described(case: schemathesis.Case[Any], server: Server, shop: Shop) -> None:
    if "channel" in case.path_parameters and len(str(case.path_parameters["channel"])) % 4:
        case.path_parameters["channel"] = "books"
    if "tenant" in case.path_parameters and case.method != "DELETE":
        case.path_parameters["tenant"] = shop.tenant
    query = case.query if isinstance(case.query, dict) else {}
    if "{tenant}" not in case.path:
        case.query = {**query, "tenant": shop.tenant}
    key = {"Authorization": f"Bearer {OPERATOR}"}
    case.call_and_validate(base_url=server.url, headers=key, checks=CHECKS, timeout=30)
