"""`GET /v1/me`: whose key it is."""

import httpx

from tests.app.api.conftest import Shop


def test_of_a_tenants_key_and_of_the_platforms(shop: Shop, platform: httpx.Client) -> None:
    mine = shop.reader.get("/v1/me").json()
    assert (mine["tenant"], mine["role"], mine["expires_at"]) == (shop.tenant, "reader", None)
    assert platform.get("/v1/me").json()["tenant"] is None
