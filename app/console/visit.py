"""A visitor with a session: who it is, the API in its name, and answers as pages and parts of pages."""

from dataclasses import dataclass
from typing import Annotated, Any
from urllib.parse import quote

from fastapi import Depends, Request
from fastapi.responses import HTMLResponse, Response

from app.console.gateway import ApiProblem, Gateway
from app.console.rendering import templates
from app.console.security import PATH, SAFE, check_csrf, csrf_token, session_of
from app.core.errors import NotFound
from app.core.names import is_name

UNAUTHORIZED = 401


class SignInNeeded(Exception):  # noqa: N818 - named for what it is
    """There is no session, or it has ended."""


@dataclass(frozen=True)
class Visit:
    """A request of somebody who has signed in. `me` is what `GET /v1/me` says of the key."""

    request: Request
    api: Gateway
    me: dict[str, Any]
    session: str

    @property
    def is_platform(self) -> bool:
        """Whether it is the platform's operator."""
        return self.me["tenant"] is None

    def page(self, name: str, status: int = 200, **context: Any) -> Response:
        """A whole page from a template."""
        shown = {"visit": self, "me": self.me, "csrf": csrf_token(self.session), **context}
        return templates.TemplateResponse(self.request, name, shown, status)

    def part(self, name: str, notice: str = "", **context: Any) -> Response:
        """A part of a page, for htmx to put in place; `notice` is said beside it."""
        text = templates.get_template(name).render(visit=self, me=self.me, request=self.request, **context)
        if notice:
            text += templates.get_template("parts/notice.html").render(text=notice, kind="done", oob=True)
        return HTMLResponse(text)

    def go(self, path: str) -> Response:
        """Have the browser open another page, after an act."""
        return Response(status_code=204, headers={"HX-Redirect": path})


async def _visit(request: Request) -> Visit:
    session = session_of(request)
    if session is None:
        raise SignInNeeded
    if request.method not in SAFE:
        check_csrf(request, session)
    api = Gateway(request.app.state.api, request, session)
    try:
        me = await api.get("/v1/me")
    except ApiProblem as error:
        if error.status == UNAUTHORIZED:
            raise SignInNeeded from error
        raise
    return Visit(request, api, me, session)


VisitDep = Annotated[Visit, Depends(_visit)]


@dataclass(frozen=True)
class ChannelVisit:
    """A visit to one channel. `path` is of its pages, `v1` and `admin` begin the API's routes about it."""

    visit: Visit
    tenant: str
    channel: dict[str, Any]

    @property
    def name(self) -> str:
        """The channel's name."""
        return str(self.channel["name"])

    @property
    def path(self) -> str:
        """Where its pages begin."""
        return channel_path(self.tenant, self.name)

    @property
    def v1(self) -> str:
        """Where the API's routes about it begin."""
        return f"/v1/channels/{self.name}"

    @property
    def admin(self) -> str:
        """Where the API's routes for its operators begin."""
        return f"/v1/admin/channels/{self.name}"

    async def get(self, path: str, **query: Any) -> Any:
        """GET of the API, in this channel's tenant."""
        return await self.visit.api.get(path, tenant=self.tenant, **query)

    async def post(self, path: str, body: Any = None, **query: Any) -> Any:
        """POST to the API, in this channel's tenant."""
        return await self.visit.api.post(path, body, tenant=self.tenant, **query)

    def page(self, name: str, **context: Any) -> Response:
        """A whole page about this channel."""
        return self.visit.page(name, **self._context(), **context)

    def part(self, name: str, notice: str = "", **context: Any) -> Response:
        """A part of a page about this channel."""
        return self.visit.part(name, notice, **self._context(), **context)

    def _context(self) -> dict[str, Any]:
        return {"here": self, "tenant": self.tenant, "channel": self.channel}


def channel_path(tenant: str, channel: str) -> str:
    """Where a channel's pages begin."""
    return f"{PATH}/channels/{quote(tenant)}/{quote(channel)}"


async def _channel(visit: VisitDep, tenant: str, channel: str) -> ChannelVisit:
    found = await visit.api.get(f"/v1/channels/{quote(channel, safe='')}", tenant=tenant)
    return ChannelVisit(visit, tenant, found)


ChannelDep = Annotated[ChannelVisit, Depends(_channel)]


async def _named(visit: VisitDep, tenant: str, channel: str) -> ChannelVisit:
    if not is_name(channel):
        raise NotFound("There is no such channel. List the channels to find it.")
    return ChannelVisit(visit, tenant, {"name": channel})


NamedDep = Annotated[ChannelVisit, Depends(_named)]
"""The channel by its name alone: for what is asked often, for nothing of it is counted."""
