"""What goes wrong: the server says no (`ApiError`), or no answer comes (`Unreachable`)."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx

_BEFORE_SENDING = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout)


class ClientError(Exception):
    """Base of both."""


class Unreachable(ClientError):  # noqa: N818 - named for what happened, as in app.core.errors
    """No answer came; `arrived` is False where the request cannot have reached the server."""

    def __init__(self, url: str, error: httpx.TransportError) -> None:
        why = str(error) or type(error).__name__
        super().__init__(f"No answer from {url}: {why}. Check the address, and that the service runs.")
        self.arrived = not isinstance(error, _BEFORE_SENDING)


class ApiError(ClientError):
    """The server said no: RFC 9457 problem details.

    `detail` says what happened and what to do; `extra` has what else the problem holds, such as `errors`,
    `report` or `quota`; `retry_after` is in seconds.
    """

    def __init__(self, status: int, problem: dict[str, Any], retry_after: float | None = None) -> None:
        self.status = status
        self.title = str(problem.get("title", "Error"))
        self.detail = str(problem.get("detail", "The server did not say why."))
        self.request_id: str | None = problem.get("request_id")
        self.extra = {k: v for k, v in problem.items() if k not in _STANDARD}
        self.retry_after = retry_after
        super().__init__(f"{status} {self.title}: {self.detail}")

    @classmethod
    def of(cls, response: httpx.Response) -> "ApiError":
        """The error that an answer is, also one of a proxy that knows no problem details."""
        try:
            problem = response.json()
        except ValueError:
            problem = None
        if not isinstance(problem, dict):
            problem = {
                "title": response.reason_phrase,
                "detail": f"{response.url.host} answered {response.status_code}, but not as TransRec Serve "
                "does. Check the address, and what is between.",
                "request_id": response.headers.get("x-request-id"),
            }
        seconds = response.headers.get("retry-after", "")
        return cls(response.status_code, problem, float(seconds) if seconds.isdecimal() else None)


_STANDARD = {"type", "title", "status", "detail", "request_id"}


@contextmanager
def reaching(url: str) -> Iterator[None]:
    """Raise `Unreachable` for httpx's errors of transport."""
    try:
        yield
    except httpx.TransportError as error:
        raise Unreachable(url, error) from error
