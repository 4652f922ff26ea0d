"""What is sent again and what is not, against a real server that fails as told."""

import time
from collections.abc import Callable, Iterator
from typing import Any

import anyio
import pytest

from app.client import ApiError, AsyncClient, Client, Unreachable
from app.client.retry import LONGEST_WAIT
from tests.app.api.conftest import OPERATOR, Shop
from tests.app.client.flaky import Flaky

EVENT = {"user_id": "u1", "item_id": "i20"}


@pytest.fixture
def through(flaky: Flaky, shop: Shop) -> Iterator[Client]:
    """The operator's client of the shop, through the flaky server."""
    with Client(flaky.url, OPERATOR, shop.tenant) as opened:
        yield opened


def test_the_server_s_own_time_is_waited_for(flaky: Flaky, through: Client) -> None:
    flaky.plan.append("503 1")
    began = time.monotonic()
    assert through.recommend("books", user_id="u1", count=2).items
    assert time.monotonic() - began >= 1
    assert len(flaky.bodies) == 2


IDEMPOTENT: list[Callable[[Client], Any]] = [
    lambda c: c.channel("books"),
    lambda c: c.recommend("books", user_id="u1"),
    lambda c: c.recommend_batch("books", [{"user_id": "u1"}]),
    lambda c: c.put_item("books", "n1", "new"),
    lambda c: c.put_items("books", [{"item_id": "n1", "text": "new"}]),
    lambda c: c.send_events("books", [EVENT]),
    lambda c: c.import_items("books", b"item_id,text\nn1,new\n", format="csv"),
]
ONCE: list[Callable[[Client], Any]] = [
    lambda c: c.train("books"),
    lambda c: c.promote("books", 0),
    lambda c: c.create_channel("more"),
    lambda c: c.upload_adapter("books", b"none"),
]


@pytest.mark.parametrize("fate", ["cut", "lost", "503", "502", "429 0", "503 0"])
def test_what_may_be_done_twice_is_sent_again(flaky: Flaky, through: Client, fate: str) -> None:
    for ask in IDEMPOTENT:
        flaky.plan.append(fate)
        flaky.bodies.clear()
        ask(through)
        first, second = flaky.bodies
        assert first == second


@pytest.mark.parametrize("fate", ["cut", "lost", "503", "502"])
def test_what_may_not_is_sent_once_when_nobody_knows(flaky: Flaky, through: Client, fate: str) -> None:
    for ask in ONCE:
        flaky.plan.append(fate)
        flaky.bodies.clear()
        with pytest.raises((Unreachable, ApiError)):
            ask(through)
        assert len(flaky.bodies) == 1


def test_a_job_that_was_refused_before_any_work_is_sent_again(flaky: Flaky, through: Client) -> None:
    flaky.plan.extend(["429 0", "503 0"])
    through.train("books")
    assert len(flaky.bodies) == 3
    assert len(through.jobs("books")) == 1


def test_an_event_whose_answer_is_lost_is_stored_once(flaky: Flaky, through: Client) -> None:
    flaky.plan.append("lost")
    stored = through.send_events("books", [EVENT])
    assert (stored.accepted, stored.duplicates) == (0, 1)  # the second time it was there
    assert len(flaky.bodies) == 2
    assert [m.item_id for m in through.user("u1").interactions].count("i20") == 1


def test_the_last_error_is_raised_after_so_many_attempts(flaky: Flaky, shop: Shop) -> None:
    flaky.plan.extend(["503 0"] * 9)
    with Client(flaky.url, OPERATOR, shop.tenant, retries=2) as client, pytest.raises(ApiError) as caught:
        client.channel("books")
    assert caught.value.status == 503
    assert len(flaky.bodies) == 3


def test_who_is_told_to_wait_too_long_hears_of_it(flaky: Flaky, through: Client) -> None:
    flaky.plan.append(f"429 {LONGEST_WAIT + 1:.0f}")
    with pytest.raises(ApiError) as caught:
        through.channel("books")
    assert caught.value.retry_after == LONGEST_WAIT + 1
    assert len(flaky.bodies) == 1


def test_a_plain_no_is_no(flaky: Flaky, through: Client) -> None:
    for status in ("400", "401", "404", "409", "422", "500"):
        flaky.plan.append(status)
        flaky.bodies.clear()
        with pytest.raises(ApiError) as caught:
            through.channel("books")
        assert "not as TransRec Serve does" in caught.value.detail
        assert len(flaky.bodies) == 1


def test_health_is_asked_once(flaky: Flaky, through: Client) -> None:
    flaky.plan.append("503 2")
    with pytest.raises(ApiError):
        through.ready()
    assert len(flaky.bodies) == 1


def test_the_asynchronous_client_sends_again_too(flaky: Flaky, shop: Shop) -> None:
    async def run() -> None:
        async with AsyncClient(flaky.url, OPERATOR, shop.tenant) as client:
            flaky.plan.extend(["cut", "503 0"])
            report = await client.import_items("books", b"item_id,text\nn1,new\n", format="csv")
            assert report.inserted == 1
            assert len(set(flaky.bodies)) == 1 and len(flaky.bodies) == 3
            flaky.plan.append("cut")
            with pytest.raises(Unreachable):
                await client.train("books")

    anyio.run(run)
