"""`Client` and `AsyncClient`: they send calls, and do by several what no single one can."""

import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import suppress
from types import TracebackType
from typing import Any, Self, TypeVar

import anyio
import httpx
from httpx_sse import EventSource, SSEError
from tenacity import AsyncRetrying, Retrying

from app.api.schemas.jobs import JobOut
from app.api.schemas.recommendations import RecommendationOut
from app.client import retry
from app.client.call import Call
from app.client.connection import Connection, result
from app.client.errors import ApiError, Unreachable, reaching
from app.client.upload import Upload

T = TypeVar("T")
POLL_SECONDS = 1.0
_STREAM_LOST = (Unreachable, ApiError, SSEError)  # then the job itself is asked for, and says what is wrong


class Client(Connection):
    """A client that waits for each answer; use it as a context manager, or close it.

    Methods raise `ApiError` and `Unreachable`, and pydantic's `ValidationError` (a `ValueError`) for what
    cannot be asked.
    """

    def _open(self, options: dict[str, Any]) -> None:
        self._http = httpx.Client(**options)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def send(self, call: Call[T]) -> T:
        """Send a call, again where that is harmless, and return its answer."""
        answer: T = Retrying(**retry.policy(call, self.retries))(self._attempt, call)
        return answer

    def _attempt(self, call: Call[T]) -> T:
        content = iter(call.body) if isinstance(call.body, Upload) else None
        with reaching(self.url):
            response = self._http.request(**self._request(call, content))
        return result(call, response)

    def pages(self, channel: str, first: RecommendationOut) -> Iterator[RecommendationOut]:
        """An answer that was `paged`, and its next pages until nothing is left."""
        page = first
        while page.items:
            yield page
            if not page.paged:
                return
            page = self.next_page(channel, page.recommendation_id)

    def follow(self, channel: str, job_id: str) -> Iterator[JobOut]:
        """A training job at each of its changes, the last time when it has ended."""
        while True:
            with suppress(*_STREAM_LOST):
                for job in self._stream(channel, job_id):
                    yield job
                    if job.finished_at:
                        return
            job = self.job(channel, job_id)
            yield job
            if job.finished_at:
                return
            time.sleep(POLL_SECONDS)

    def wait(
        self, channel: str, job_id: str, on_progress: Callable[[JobOut], object] | None = None
    ) -> JobOut:
        """Return a training job when it has ended, however it did: see its `state`."""
        for job in self.follow(channel, job_id):
            if on_progress is not None:
                on_progress(job)
        return job

    def _stream(self, channel: str, job_id: str) -> Iterator[JobOut]:
        with reaching(self.url), self._http.stream(**self._watch(channel, job_id)) as response:
            if response.is_error:
                response.read()
                raise ApiError.of(response)
            for event in EventSource(response).iter_sse():
                yield JobOut.model_validate_json(event.data)


class AsyncClient(Connection):
    """The same for asyncio: `async with AsyncClient() as client: await client.recommend(...)`."""

    def _open(self, options: dict[str, Any]) -> None:
        self._http = httpx.AsyncClient(**options)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def send(self, call: Call[T]) -> T:
        """Send a call, again where that is harmless, and return its answer."""
        answer: T = await AsyncRetrying(**retry.policy(call, self.retries))(self._attempt, call)
        return answer

    async def _attempt(self, call: Call[T]) -> T:
        content = aiter(call.body) if isinstance(call.body, Upload) else None
        with reaching(self.url):
            response = await self._http.request(**self._request(call, content))
        return result(call, response)

    async def pages(self, channel: str, first: RecommendationOut) -> AsyncIterator[RecommendationOut]:
        """An answer that was `paged`, and its next pages until nothing is left."""
        page = first
        while page.items:
            yield page
            if not page.paged:
                return
            page = await self.next_page(channel, page.recommendation_id)

    async def follow(self, channel: str, job_id: str) -> AsyncIterator[JobOut]:
        """A training job at each of its changes, the last time when it has ended."""
        while True:
            with suppress(*_STREAM_LOST):
                async for job in self._stream(channel, job_id):
                    yield job
                    if job.finished_at:
                        return
            job = await self.job(channel, job_id)
            yield job
            if job.finished_at:
                return
            await anyio.sleep(POLL_SECONDS)

    async def wait(
        self, channel: str, job_id: str, on_progress: Callable[[JobOut], object] | None = None
    ) -> JobOut:
        """Return a training job when it has ended, however it did: see its `state`."""
        async for job in self.follow(channel, job_id):
            if on_progress is not None:
                on_progress(job)
        return job

    async def _stream(self, channel: str, job_id: str) -> AsyncIterator[JobOut]:
        with reaching(self.url):
            async with self._http.stream(**self._watch(channel, job_id)) as response:
                if response.is_error:
                    await response.aread()
                    raise ApiError.of(response)
                async for event in EventSource(response).aiter_sse():
                    yield JobOut.model_validate_json(event.data)
