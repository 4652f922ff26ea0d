"""Clients that never end: streams of gigabytes, bytes that trickle, connections that break."""

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import httpx
import pytest

from tests.app.api.conftest import Shop, spare_file
from tests.faults.conftest import (
    ADMIN,
    BOOKS,
    MAX_ADAPTER_BYTES,
    MAX_UPLOAD_BYTES,
    THINGS,
    World,
    ranked,
)
from tests.faults.test_hostile_uploads import MB, flat_memory
from tests.servers import wait_for

IMPORTS = f"{BOOKS}/imports?kind=interactions&format=csv"
ENDLESS = 10 * 1024**3
LINES = b"u1,i01,1\n" * (MB // 9)
CHUNK = b"%x\r\n%b\r\n" % (len(LINES), LINES)
TRICKLES = 60  # more than the server has threads


def head(client: httpx.Client, path: str) -> bytes:
    key = client.headers["authorization"]
    lines = [f"POST {path} HTTP/1.1", "Host: x", f"Authorization: {key}", "Transfer-Encoding: chunked"]
    return "\r\n".join([*lines, "", ""]).encode()


def connect(url: str) -> socket.socket:
    at = httpx.URL(url)
    return socket.create_connection((at.host, at.port or 80), timeout=30)


@pytest.mark.parametrize(
    ("path", "limit"), [(IMPORTS, MAX_UPLOAD_BYTES), (f"{ADMIN}/adapters", MAX_ADAPTER_BYTES)]
)
def test_ten_gigabytes_are_cut_at_the_bound(world: World, shop: Shop, path: str, limit: int) -> None:
    """By a client that goes on sending whatever it is told, as long as it is let."""
    sent = 0
    with flat_memory(world.a.pid, 100 * MB), connect(world.a.url) as connection:
        connection.sendall(head(shop.operator, path) + b"9\r\n" + b"u,i,t\r\n\r\n\r\n")
        with suppress(ConnectionError):
            while sent < ENDLESS:
                connection.sendall(CHUNK)
                sent += len(LINES)
    assert sent < limit + 64 * MB
    wait_for(lambda: not spare_file(Path(world.settings["TMPDIR"])))
    assert ranked(shop.reader, history=THINGS.sequences["u1"])


def test_a_client_that_listens_reads_the_413(world: World, shop: Shop) -> None:
    with connect(world.a.url) as connection:
        connection.sendall(head(shop.operator, IMPORTS))
        for _ in range(MAX_UPLOAD_BYTES // len(LINES) + 1):
            connection.sendall(CHUNK)
        answer = connection.recv(65536)
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert b"application/problem+json" in answer


def test_a_client_that_sends_to_the_end_before_it_reads_still_reads_the_413(world: World, shop: Shop) -> None:
    with connect(world.a.url) as connection:
        connection.sendall(head(shop.operator, IMPORTS))
        for _ in range(MAX_UPLOAD_BYTES // len(LINES) + 16):  # none of these is refused: no reset
            connection.sendall(CHUNK)
            time.sleep(0.05)
        connection.sendall(b"0\r\n\r\n")
        answer = connection.recv(65536)
        assert answer.startswith(b"HTTP/1.1 413 ")
        while connection.recv(65536):  # then it closes in order
            pass


@contextmanager
def trickling(world: World, shop: Shop) -> Iterator[list[socket.socket]]:
    """Clients that send a byte now and then: of their heads, and of their bodies."""
    done = threading.Event()
    with ExitStack() as stack:
        clients = [stack.enter_context(connect(world.a.url)) for _ in range(2 * TRICKLES)]
        for number, client in enumerate(clients):
            whole = head(shop.writer, IMPORTS)
            client.sendall(whole[:40] if number % 2 else whole + b"f\r\nuser_id,item_id\r\n")

        def trickle() -> None:
            while not done.wait(0.2):
                for number, client in enumerate(clients):
                    with suppress(OSError):
                        client.sendall(b"x" if number % 2 else b"1\r\nx\r\n")

        thread = threading.Thread(target=trickle)
        thread.start()
        try:
            yield clients
        finally:
            done.set()
            thread.join()


def test_bytes_that_trickle_block_nobody(world: World, shop: Shop) -> None:
    temporary = Path(world.settings["TMPDIR"])
    with trickling(world, shop):
        wait_for(lambda: len(spare_file(temporary)) >= TRICKLES)
        slowest = 0.0
        for number in range(60):
            started = time.monotonic()
            assert ranked(shop.reader, user_id=f"u{number}")
            row = f"user_id,item_id,timestamp\nu{number},i01,100\n".encode()
            assert shop.writer.post(IMPORTS, content=row).status_code == 201
            slowest = max(slowest, time.monotonic() - started)
    assert slowest < 5  # generous: the machine may be busy
    wait_for(lambda: not spare_file(temporary))  # they broke off: nothing of them is left
