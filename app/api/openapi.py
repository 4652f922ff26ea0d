"""The OpenAPI description, with the media type that errors really have."""

from typing import Any

from fastapi import FastAPI

from app.api.errors import MEDIA_TYPE

_ERRORS = ("4XX", "5XX")


def describe(app: FastAPI) -> dict[str, Any]:
    """The description as FastAPI makes it, which declares all bodies of a route as JSON, made exact."""
    if app.openapi_schema is None:
        described = FastAPI.openapi(app)
        for route in described["paths"].values():
            for operation in route.values():
                _name_problems(operation["responses"])
    assert app.openapi_schema is not None  # noqa: S101 - FastAPI has kept it
    return app.openapi_schema


def _name_problems(responses: dict[str, Any]) -> None:
    for status in _ERRORS:
        content = responses[status]["content"]
        content[MEDIA_TYPE] = content.pop(next(iter(content)))
