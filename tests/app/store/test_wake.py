"""A Redis that takes connections and never answers."""

import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from app.store.wake import PATIENCE, Wake


@pytest.fixture
def hanging(tmp_path: Path) -> Iterator[str]:
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "redis.sock"))
        server.listen()
        yield f"unix://{tmp_path / 'redis.sock'}"


def test_one_write_waits_for_it_and_the_next_ones_go_around(hanging: str) -> None:
    wake = Wake(hanging)
    started = time.monotonic()
    assert not wake.look()
    assert time.monotonic() - started > PATIENCE / 2
    started = time.monotonic()
    assert not any(wake.look() or wake.job(f"job-{n}") for n in range(10))
    assert time.monotonic() - started < PATIENCE
    wake.client.close()


def test_who_hears_of_it_tells_it_again(hanging: str, valkey_url: str) -> None:
    wake = Wake(hanging)
    assert not wake.look()
    wake.client.close()
    wake.client = Wake(valkey_url).client  # it is back
    assert not wake.look()
    assert next(wake.listen(0.01)) is False
    assert wake.look()
    wake.client.close()
