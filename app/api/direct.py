"""Routes that read their requests by themselves: FastAPI's solving of dependencies and models takes longer
than all the rest of a recommendation.
"""

from collections.abc import Callable, Coroutine
from typing import Any, TypeVar, cast

from fastapi import Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from pydantic import BaseModel, ValidationError

Model = TypeVar("Model", bound=BaseModel)
SECURITY: dict[str, Any] = {"security": [{"API key": []}]}


class DirectRoute(APIRoute):
    """A route whose handler gets the request, the path's parameters and `tenant`.

    What else the handler declares is for the documentation.
    """

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """As FastAPI's, which it replaces: `Request` -> `Response`."""

        async def handle(request: Request) -> Response:
            tenant = request.query_params.get("tenant")
            return cast(Response, await self.endpoint(request, tenant=tenant, **request.path_params))

        return handle


def parsed(model: type[Model], body: bytes | object) -> Model:
    """A body, in JSON or as an object that came in JSON; raises `RequestValidationError`."""
    try:
        return model.model_validate_json(body) if isinstance(body, bytes) else model.model_validate(body)
    except ValidationError as error:
        errors = [{**e, "loc": ("body", *e["loc"])} for e in error.errors(include_url=False)]
        raise RequestValidationError(errors) from error
