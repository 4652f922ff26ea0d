"""The REST API as a page sees it: asked in this process, in the visitor's name."""

import logging
from collections.abc import AsyncIterable
from typing import Any

import httpx
from fastapi import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from app.api.observed import INSIDE

log = logging.getLogger(__name__)
HTTP_ERROR = 400


class ApiProblem(Exception):  # noqa: N818 - named for what it is, see app.core.errors
    """The API's problem details (RFC 9457): what went wrong, and the remedy."""

    def __init__(self, status: int, problem: dict[str, Any]) -> None:
        super().__init__(problem.get("detail", ""))
        self.status, self.problem = status, problem

    @property
    def title(self) -> str:
        """What went wrong, in a word or two."""
        return str(self.problem.get("title", "Error"))

    @property
    def detail(self) -> str:
        """What to do about it."""
        return str(self.problem.get("detail", ""))


class _Inside:
    """The API for what a page asks: counted, logged and named as one request, the page's.

    Of a tenant's requests a second it spends one, however much the page asks for; recommendations, the hot
    path, count as always.
    """

    def __init__(self, api: ASGIApp, page: Request) -> None:
        self._api, self._state = api, page.scope.setdefault("state", {})

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await self._api({**scope, INSIDE: True, "state": self._state}, receive, send)
        except Exception:
            # It has been answered with a 500; its traceback is the server's to log, and here is none.
            log.exception("the API failed at what a page asked")
            raise


class Gateway:
    """Sends requests to the API with a key or a session's token; an error is an `ApiProblem`."""

    def __init__(self, api: ASGIApp, request: Request, secret: str) -> None:
        # Wrong keys are counted by the visitor's own address.
        address = (request.client.host, request.client.port) if request.client else ("", 0)
        self._transport = httpx.ASGITransport(
            _Inside(api, request), raise_app_exceptions=False, client=address
        )
        self._headers = {"Authorization": f"Bearer {secret}"}

    async def get(self, path: str, **query: Any) -> Any:
        """Return the JSON of a GET; a query value of None is left out."""
        return (await self.send("GET", path, query)).json()

    async def post(self, path: str, body: Any = None, **query: Any) -> Any:
        """Return the JSON of a POST with a JSON body."""
        return _json(await self.send("POST", path, query, json=body))

    async def put(self, path: str, body: Any, **query: Any) -> Any:
        """Return the JSON of a PUT with a JSON body."""
        return _json(await self.send("PUT", path, query, json=body))

    async def patch(self, path: str, body: Any, **query: Any) -> Any:
        """Return the JSON of a PATCH with a JSON body."""
        return _json(await self.send("PATCH", path, query, json=body))

    async def delete(self, path: str, **query: Any) -> Any:
        """Return the JSON of a DELETE; None where it answers nothing."""
        return _json(await self.send("DELETE", path, query))

    async def send(
        self,
        method: str,
        path: str,
        query: dict[str, Any],
        *,
        json: Any = None,
        content: AsyncIterable[bytes] | None = None,
        headers: dict[str, str] | None = None,
    ) -> httpx.Response:
        """Send any request and return its answer whole; raises `ApiProblem`."""
        params = {name: value for name, value in query.items() if value is not None}
        client = httpx.AsyncClient(transport=self._transport, base_url="http://console", timeout=None)  # noqa: S113
        async with client:
            answer = await client.request(
                method,
                path,
                params=params,
                json=json,
                content=content,
                headers={**self._headers, **(headers or {})},
            )
        if answer.status_code >= HTTP_ERROR:
            raise ApiProblem(answer.status_code, _problem(answer))
        return answer


def _json(answer: httpx.Response) -> Any:
    return answer.json() if answer.content else None


def _problem(answer: httpx.Response) -> dict[str, Any]:
    try:
        found = answer.json()
    except ValueError:
        found = None
    return found if isinstance(found, dict) else {"title": answer.reason_phrase}
