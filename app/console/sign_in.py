"""Signing in with a key, and out."""

from urllib.parse import unquote

from fastapi import APIRouter, Request
from fastapi.responses import RedirectResponse, Response
from starlette.concurrency import run_in_threadpool

from app.api.door import authenticated
from app.console.rendering import templates
from app.console.security import PATH, check_same_origin, cookie, session_of
from app.console.visit import VisitDep
from app.core.errors import TransRecError
from app.store import sessions
from app.store.db import Database

router = APIRouter()
MAX_KEY = 256  # characters; a real one has 46


@router.get("/sign-in")
def show(request: Request, next: str = "") -> Response:  # noqa: A002 - the word for it
    """The form."""
    return _form(request, next)


@router.post("/sign-in")
async def sign_in(request: Request) -> Response:
    """Begin a session with the key in the form; the key itself is kept nowhere."""
    check_same_origin(request)
    async with request.form(max_files=0, max_fields=3) as form:
        # A form may name a charset in which half a surrogate pair is text; it has no UTF-8.
        key, onward = (str(form.get(name, "")).encode(errors="replace").decode() for name in ("key", "next"))
    try:
        token = await run_in_threadpool(_open, request, key.strip()[:MAX_KEY])
    except TransRecError as error:
        return _form(request, onward, error)
    answer = RedirectResponse(_inside(onward), 303)
    answer.set_cookie(value=token, **cookie(request, int(sessions.LASTS.total_seconds())))
    return answer


@router.post("/sign-out")
async def sign_out(visit: VisitDep) -> Response:
    """End the session."""
    await run_in_threadpool(_close, visit.request)
    answer = visit.go(f"{PATH}/sign-in")
    answer.set_cookie(value="", **cookie(visit.request, 0))
    return answer


def _open(request: Request, key: str) -> str:
    db: Database = request.app.state.db
    with db.read() as s:  # wrong keys are counted, and must not take the write lock
        authenticated(request, s, key)
    with db.session() as s:
        if old := session_of(request):
            sessions.close_session(s, old)
        return sessions.open_session(s, key)


def _close(request: Request) -> None:
    db: Database = request.app.state.db
    with db.session() as s:
        sessions.close_session(s, session_of(request) or "")


def _form(request: Request, onward: str, error: TransRecError | None = None) -> Response:
    context = {"next": onward, "error": error.message if error else ""}
    return templates.TemplateResponse(request, "sign_in.html", context, error.status if error else 200)


def _inside(path: str) -> str:
    """Where to go after signing in: a page of the console, wherever a link would lead."""
    plain = unquote(path)
    wild = any(part in plain for part in ("..", "//", "\\")) or not plain.isprintable()
    return path if path.startswith(f"{PATH}/") and not wild else f"{PATH}/"
