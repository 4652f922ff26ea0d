"""The servers that the other tests stand on."""

import pytest
import redis


@pytest.mark.parametrize("turn", [1, 2])
def test_valkey_is_empty_for_every_test(valkey_url: str, turn: int) -> None:
    with redis.Redis.from_url(valkey_url) as client:
        assert client.keys("*") == []
        client.set("left", "behind")
