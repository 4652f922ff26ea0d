"""The console as an application of its own, mounted at /admin of the API's."""

import logging
from http import HTTPStatus
from urllib.parse import quote

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, RedirectResponse, Response
from fastapi.telemetry import TelemetryConfig
from starlette.exceptions import HTTPException
from starlette.middleware.gzip import GZipMiddleware

from app.console import (
    audit,
    channels,
    data,
    item_map,
    items,
    keys,
    overview,
    playground,
    releases,
    settings,
    sign_in,
    system,
    tenants,
    training,
)
from app.console.files import Files
from app.console.gateway import ApiProblem
from app.console.rendering import STATIC, templates
from app.console.security import HEADERS, PATH, SecurityHeaders
from app.console.visit import SignInNeeded
from app.core.errors import TransRecError

log = logging.getLogger(__name__)
PAGES = (
    sign_in,
    overview,
    channels,
    data,
    items,
    training,
    releases,
    playground,
    item_map,
    settings,
    tenants,
    keys,
    audit,
    system,
)
_SILENT: TelemetryConfig = {"tracing": False, "metrics": False, "logs": False, "auto_configure": False}


def mount(api: FastAPI) -> None:
    """Put the console at /admin of the API, whose state and routes it uses."""
    console = FastAPI(openapi_url=None, docs_url=None, redoc_url=None, telemetry=_SILENT)
    api.state.api = api
    console.state = api.state
    console.add_middleware(GZipMiddleware)
    for module in PAGES:
        console.include_router(module.router)
    console.mount("/static", Files(directory=STATIC))
    console.add_exception_handler(SignInNeeded, _sign_in)
    for kind in (ApiProblem, TransRecError, HTTPException, RequestValidationError, Exception):
        console.add_exception_handler(kind, _failed)
    # Outside of all, for the page of an error that nobody expected is sent from outside of all middleware.
    api.mount(PATH, SecurityHeaders(console), name="console")
    api.add_api_route(PATH, _add_slash, include_in_schema=False)


def _add_slash(request: Request) -> Response:
    query = f"?{request.url.query}" if request.url.query else ""
    return RedirectResponse(f"{PATH}/{query}", 307, dict(HEADERS))


async def _sign_in(request: Request, _: Exception) -> Response:
    if "HX-Request" in request.headers:
        return Response(status_code=204, headers={"HX-Redirect": f"{PATH}/sign-in"})
    here = request.url.path + (f"?{request.url.query}" if request.url.query else "")
    return RedirectResponse(f"{PATH}/sign-in?next={quote(here, safe='')}", 303)


async def _failed(request: Request, error: Exception) -> Response:
    """An error as a notice on the page that is shown, or as a page of its own."""
    if isinstance(error, ApiProblem) and error.status == HTTPStatus.UNAUTHORIZED:
        return await _sign_in(request, error)  # the session ended meanwhile
    status, title, detail = _told(error)
    headers = {"Connection": "close"} if status == HTTPStatus.REQUEST_ENTITY_TOO_LARGE else {}
    if "HX-Request" in request.headers:
        text = templates.get_template("parts/notice.html").render(
            text=detail or title, kind="failed", oob=False
        )
        # The part that was asked for stays as it is; the notice goes where notices go.
        headers |= {"HX-Retarget": "#notices", "HX-Reswap": "beforeend"}
        return HTMLResponse(text, status, headers)
    told = {"title": title, "detail": detail}
    return templates.TemplateResponse(request, "error.html", told, status, headers)


def _told(error: Exception) -> tuple[int, str, str]:
    if isinstance(error, ApiProblem):
        return error.status, error.title, error.detail
    if isinstance(error, TransRecError):
        return error.status, error.title, error.message
    if isinstance(error, RequestValidationError):
        return 422, "Invalid input", "; ".join(f"{e['loc'][-1]}: {e['msg']}" for e in error.errors())
    if isinstance(error, HTTPException):
        title = HTTPStatus(error.status_code).phrase
        # Starlette's own errors only repeat the title.
        return error.status_code, title, error.detail if error.detail != title else "There is no such page."
    log.error("a page failed", exc_info=error)
    return 500, "Internal error", "This is a bug. The server's log says more."
