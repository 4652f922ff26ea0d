"""Every error as problem details (RFC 9457), never a stack trace."""

import logging
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from app.core import request
from app.core.errors import TooBusy, TransRecError, Unavailable

log = logging.getLogger(__name__)
MEDIA_TYPE = "application/problem+json"
_CUT = {"Connection": "close"}  # else the server reads on to the body's end, be it gigabytes; see `Bounds`
_REMEDIES = {
    404: "There is no such route. See /docs for those there are.",
    405: "This route does not take that method. See /docs for those it takes.",
}


def problem(
    status: int,
    title: str,
    detail: str,
    extra: Mapping[str, Any] | None = None,
    headers: Mapping[str, str] | None = None,
) -> JSONResponse:
    """An answer in the one shape that all errors have."""
    body = {**(extra or {}), "type": "about:blank", "title": title, "status": status, "detail": detail}
    if request_id := request.facts().get("request_id"):
        body["request_id"] = request_id
    return JSONResponse(body, status, dict(headers or {}), media_type=MEDIA_TYPE)


def install(app: FastAPI) -> None:
    """Put the handlers in place."""
    app.add_exception_handler(TransRecError, _ours)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(RequestValidationError, _validation)
    app.add_exception_handler(ClientDisconnect, _disconnect)
    app.add_exception_handler(Exception, _unexpected)


def problem_of(error: Exception) -> JSONResponse:
    """The answer that an error of a handler becomes."""
    if isinstance(error, TransRecError):
        return _of_ours(error)
    return _of_validation(error) if isinstance(error, RequestValidationError) else _of_unexpected()


async def _ours(_request: Request, error: Exception) -> JSONResponse:
    return problem_of(error)


def _of_ours(error: TransRecError) -> JSONResponse:
    headers = {}
    if isinstance(error, Unavailable | TooBusy):
        headers["Retry-After"] = str(error.retry_after)
    if error.status == HTTPStatus.REQUEST_ENTITY_TOO_LARGE:
        headers |= _CUT
    if error.status == HTTPStatus.UNAUTHORIZED:
        headers["WWW-Authenticate"] = "Bearer"
    if error.status == HTTPStatus.INTERNAL_SERVER_ERROR:
        log.error("%s", error, exc_info=error)
    return problem(error.status, error.title, error.message, error.extra, headers)


async def _http(_request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)  # noqa: S101
    title = HTTPStatus(error.status_code).phrase
    # Starlette's own errors only repeat the title.
    detail = error.detail if error.detail != title else _REMEDIES.get(error.status_code, title)
    cut = _CUT if error.status_code == HTTPStatus.REQUEST_ENTITY_TOO_LARGE else {}
    return problem(error.status_code, title, detail, headers={**(error.headers or {}), **cut})


async def _validation(_request: Request, error: Exception) -> JSONResponse:
    return problem_of(error)


def _of_validation(error: RequestValidationError) -> JSONResponse:
    # Neither the input nor the context: they repeat what was sent.
    errors = [{"field": ".".join(map(str, e["loc"])), "message": e["msg"]} for e in error.errors()[:50]]
    first = errors[0] if errors else {"field": "body", "message": "wrong"}
    detail = f"{first['field']}: {first['message']}. Correct the request; /docs shows what it may hold."
    return problem(422, "Invalid input", detail, {"errors": errors})


async def _disconnect(_request: Request, _error: Exception) -> JSONResponse:
    return problem(400, "Bad Request", "The request ended before its body did. Send it again.")


async def _unexpected(_request: Request, _error: Exception) -> JSONResponse:
    # The server logs the traceback. This answer is sent from outside of all middleware.
    answer = _of_unexpected()
    answer.headers["X-Request-ID"] = request.facts().get("request_id", "")
    return answer


def _of_unexpected() -> JSONResponse:
    return problem(500, "Internal error", "Something went wrong on our side. Try again; the log says what.")
