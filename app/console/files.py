"""Static files whose address changes with their content, see `app.console.rendering.static`."""

from http import HTTPStatus

from fastapi.responses import Response
from fastapi.staticfiles import StaticFiles
from starlette.types import Receive, Scope, Send


class Files(StaticFiles):
    """Files that a browser may keep for good."""

    path = "/{file}"
    """What metrics call it, for a mounted application has no route."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer with a file."""
        scope["route"] = self
        await super().__call__(scope, receive, send)

    async def get_response(self, path: str, scope: Scope) -> Response:
        """The file, with a word on how long it holds."""
        answer = await super().get_response(path, scope)
        if answer.status_code < HTTPStatus.BAD_REQUEST:
            answer.headers["Cache-Control"] = "public, max-age=31536000, immutable"
        return answer
