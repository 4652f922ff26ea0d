"""What is known of a request: seen by the threads it is handed to, unknown to the background."""

import asyncio
import threading

from starlette.concurrency import run_in_threadpool

from app.core import request


def test_threads_of_a_request_share_what_is_known_and_others_know_nothing() -> None:
    alone: list[object] = []

    async def answer(asked: str, key: str) -> dict[str, str]:
        request.begin(asked)
        await run_in_threadpool(request.note, key_id=key, tenant_id=None)
        thread = threading.Thread(target=lambda: alone.append(request.facts()))
        thread.start()
        thread.join()
        await asyncio.sleep(0.01)
        return dict(request.facts())

    async def both() -> list[dict[str, str]]:
        return list(await asyncio.gather(answer("one", "k1"), answer("two", "k2")))

    assert asyncio.run(both()) == [
        {"request_id": "one", "key_id": "k1"},
        {"request_id": "two", "key_id": "k2"},
    ]
    assert alone == [{}, {}]
    request.note(key_id="of nobody")
    assert request.facts() == {}
