"""PostgreSQL is stopped or killed: answers go on, writes wait, nothing is half done."""

import threading
from concurrent.futures import ThreadPoolExecutor

import httpx
import psycopg

from tests.app.api.conftest import Shop, is_problem, send
from tests.faults.conftest import (
    ADMIN,
    BOOKS,
    JOB,
    THINGS,
    Recovery,
    World,
    interactions,
    new_id,
    ranked,
    there,
)
from tests.servers import wait_for

ASK = f"{BOOKS}/recommendations"
HISTORY = THINGS.sequences["u1"]
LARGE = "user_id,item_id,timestamp\n" + "".join(f"v{n},i{n % 24:02d},{n}\n" for n in range(60_000))


def imports(writer: httpx.Client, csv: str) -> httpx.Response:
    return writer.post(f"{BOOKS}/imports?kind=interactions&format=csv", content=csv.encode(), timeout=120)


def is_away(answer: httpx.Response) -> bool:
    return is_problem(answer, 503) and int(answer.headers["retry-after"]) > 0


def test_a_stop_and_a_start(world: World, shop: Shop, recovery: Recovery) -> None:
    before, item = interactions(shop.reader), new_id()
    expected = {user: ranked(shop.reader, user_id=user) for user in ("u1", "u2")}
    assert expected["u1"] == ranked(shop.reader, history=HISTORY)
    row = f"user_id,item_id,timestamp\n{item},i03,1\n"
    with there(world.b.url, shop.reader) as other:
        ranked(other, history=HISTORY)  # so that it knows the key
        with world.postgres.stopped():
            for reader in (shop.reader, other):  # `b` has these histories from Redis alone
                assert ranked(reader, history=HISTORY) == expected["u1"]
                assert {user: ranked(reader, user_id=user) for user in expected} == expected
                assert is_away(reader.post(ASK, json={"user_id": "u7"}))
                assert is_away(reader.get(f"{BOOKS}/items/i03"))
                assert is_away(reader.get("/health/ready"))
                assert reader.get("/health/live").status_code == 200
            assert is_away(imports(shop.writer, row))
            assert is_away(shop.writer.put(f"{BOOKS}/items/{item}", json={"text": "new"}))
            assert is_away(shop.operator.post(f"{ADMIN}/training-jobs", json=JOB))
            assert is_away(shop.operator.post(f"{ADMIN}/releases/promote", json={"version": 0}))
        with recovery("PostgreSQL back, until a write succeeds"):
            wait_for(lambda: imports(shop.writer, row).status_code == 201)
        with recovery("PostgreSQL back, until both servers are ready"):
            wait_for(lambda: all(r.get("/health/ready").status_code == 200 for r in (shop.reader, other)))
        assert interactions(shop.reader) == before + 1
        assert shop.reader.get(f"{BOOKS}/items/{item}").status_code == 404
        assert shop.operator.get(f"{ADMIN}/training-jobs").json() == []
        assert ranked(shop.reader, user_id="u7") == ranked(other, user_id="u7")
        with ThreadPoolExecutor(20) as pool:  # more than a pool of connections has
            answers = pool.map(lambda n: (shop.reader, other)[n % 2].get(BOOKS).status_code, range(60))
        assert set(answers) == {200}


def test_a_kill_in_an_import(world: World, shop: Shop, recovery: Recovery) -> None:
    before = interactions(shop.reader)
    answers: list[httpx.Response] = []
    thread = threading.Thread(target=lambda: answers.append(imports(shop.writer, LARGE)))
    with psycopg.connect(world.postgres.uri, autocommit=True) as watching:
        thread.start()
        wait_for(lambda: is_writing(watching))
        world.postgres.kill()
    thread.join()
    assert is_away(answers[0])
    world.postgres.start()
    with recovery("PostgreSQL killed in an import, until it can be asked again"):
        wait_for(lambda: shop.reader.get(BOOKS).status_code == 200)
    assert interactions(shop.reader) == before
    with recovery("PostgreSQL killed in an import, until the same import has succeeded"):
        again = imports(shop.writer, LARGE)
    assert again.status_code == 201, again.text
    assert again.json()["inserted"] == 60_000
    send(shop.writer, "interactions", "user_id,item_id,timestamp\nv0,i01,1\n")
    assert interactions(shop.reader) == before + 60_001


def is_writing(watching: psycopg.Connection) -> bool:
    """Whether some rows of the import are written and not committed."""
    query = (
        "SELECT 1 FROM pg_stat_activity WHERE query LIKE 'INSERT INTO interactions%' AND xact_start < now()"
    )
    return watching.execute(query).fetchone() is not None
