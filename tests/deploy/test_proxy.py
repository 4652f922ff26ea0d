"""The proxy of docker-compose.yml before real replicas: what it keeps going, what it hides."""

import os
import signal
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

import httpx
import psycopg
from sqlalchemy import make_url

from tests.app.api.conftest import is_problem, wait_for
from tests.deploy.conftest import OPERATOR, Site, answers, client, recommend


@contextmanager
def load(site: Site) -> Iterator[Counter[int]]:
    """Two clients that ask one thing after the other while the block runs; yields the answers by status."""
    statuses: Counter[int] = Counter()
    stop = threading.Event()

    def ask() -> None:
        with client(str(site.platform.base_url)) as asked:
            while not stop.is_set():
                try:
                    statuses[recommend(asked).status_code] += 1
                except httpx.TransportError:
                    statuses[0] += 1

    threads = [threading.Thread(target=ask) for _ in range(2)]
    for thread in threads:
        thread.start()
    try:
        yield statuses
    finally:
        stop.set()
        for thread in threads:
            thread.join()


def more(statuses: Counter[int], count: int = 50) -> None:
    """Wait for so many more answers."""
    target = sum(statuses.values()) + count
    wait_for(lambda: sum(statuses.values()) >= target, 60)


def test_one_replica_after_the_other_is_killed_and_no_request_fails(site: Site) -> None:
    with load(site) as statuses:
        more(statuses)
        for replica in site.replicas:
            replica.end(signal.SIGKILL)
            more(statuses)
            wait_for(lambda: site.up("ready") == 1, 30)
            replica.start()
            wait_for(lambda: site.up("ready") == 2, 120)
            more(statuses)
    assert set(statuses) == {200}, statuses


def test_a_replica_that_answers_503_or_stops_in_order_loses_nothing(site: Site) -> None:
    with load(site) as statuses:
        more(statuses)
        # Without its model it answers 503 until it has another one, though it is ready all the while.
        os.kill(site.replicas[0].model_process(), signal.SIGKILL)
        wait_for(lambda: site.retries() > 0, 30)
        more(statuses)
        wait_for(lambda: answers(site.replicas[0].url), 60)
        site.replicas[1].end(signal.SIGTERM)
        more(statuses)
    assert set(statuses) == {200}, statuses


def test_what_it_hides_and_what_it_does_not_bound(site: Site) -> None:
    for path in ("/metrics", "/%6detrics", "/metrics/", "/METRICS?x=1", "/health/empty", "/health/%65mpty"):
        assert is_problem(site.platform.get(path), 404)
    assert httpx.get(f"{site.replicas[0].url}/health/empty").is_success  # hidden, not absent
    imports = "/v1/channels/things/imports?kind=items&format=csv&tenant=shop"
    rows = (f"j{n},thing {n}\n".encode() for n in range(30_000))  # half a megabyte, of no length said before
    accepted = site.platform.post(imports, content=body(rows))
    assert accepted.status_code == 201, accepted.text
    # Above the service's own bound it is the service that answers.
    rows = (f"k{n},{'thing ' * 10}\n".encode() for n in range(200_000))
    assert is_problem(site.platform.post(imports, content=body(rows)), 413)


def test_what_a_client_says_of_tls_is_not_believed(site: Site) -> None:
    door = str(site.platform.base_url)
    said = {"X-Forwarded-Proto": "https"}
    # The replicas trust the proxy: what it passes on, they believe.
    direct = httpx.post(f"{site.replicas[0].url}/admin/sign-in", data={"key": OPERATOR}, headers=said)
    assert "; secure" in direct.headers["set-cookie"].lower()
    signed_in = httpx.post(f"{door}/admin/sign-in", data={"key": OPERATOR}, headers=said)
    assert signed_in.status_code == 303
    assert "secure" not in signed_in.headers["set-cookie"].lower()


def test_when_none_is_ready_the_living_answer_and_when_none_lives_the_proxy_does(site: Site) -> None:
    assert recommend(site.platform).is_success
    take_away(site.database)
    wait_for(lambda: site.up("ready") == 0, 30)
    assert site.up("living") == 2
    assert recommend(site.platform).is_success
    assert is_problem(site.platform.get("/health/ready"), 503)
    for replica in site.replicas:
        replica.end(signal.SIGKILL)
    wait_for(lambda: site.up("living") == 0, 30)
    answer = recommend(site.platform)
    assert is_problem(answer, 503)
    assert int(answer.headers["retry-after"]) > 0


def take_away(url: str) -> None:
    """Close the database to everybody."""
    name = make_url(url).database
    maintenance = url.replace("postgresql+psycopg", "postgresql").replace(f"/{name}?", "/postgres?")
    with psycopg.connect(maintenance, autocommit=True) as connection:
        connection.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS false".encode())
        connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", [name]
        )


def body(rows: Iterator[bytes]) -> Iterator[bytes]:
    """A CSV file of items."""
    yield b"item_id,text\n"
    yield from rows
