"""The API's description for people, /docs: Swagger UI, with every file from here."""

from functools import cache
from importlib import metadata

from fastapi import APIRouter, FastAPI, Request
from fastapi.responses import Response
from starlette.middleware.gzip import GZipMiddleware

from app.console.files import Files
from app.console.rendering import templates
from app.console.security import HEADERS, SecurityHeaders

FILES = "/docs/files"
router = APIRouter(include_in_schema=False)


def mount(api: FastAPI) -> None:
    """Put the page at /docs. Of the package that brings Swagger UI only the files are used, no code."""
    api.include_router(router)
    files = Files(packages=[("fastapi_swagger", "resources")])
    api.mount(FILES, SecurityHeaders(GZipMiddleware(files)), name="docs")


@router.get("/docs")
def show(request: Request) -> Response:
    """The page; what it shows is public, as the description is."""
    context = {"openapi": request.app.openapi_url, "file": _file}
    return templates.TemplateResponse(request, "reference.html", context, headers=dict(HEADERS))


@cache
def _file(name: str) -> str:
    return f"{FILES}/{name}?v={metadata.version('fastapi-swagger')}"
