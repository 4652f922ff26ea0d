"""A real HTTP server that fails as told, and passes all else on to another one."""

import threading
from collections import deque
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self

import httpx


class Flaky:
    """`plan` holds what becomes of the next requests:

    "503" and "429 60" (a status and its Retry-After), "cut" (no answer, nothing passed on), "lost" (passed
    on, but the answer is lost), "pass". Without a plan all is passed on. `bodies` holds what was received.
    """

    def __init__(self, target: str) -> None:
        self.plan: deque[str] = deque()
        self.bodies: list[bytes] = []
        flaky = self

        class Handler(BaseHTTPRequestHandler):
            def _handle(self) -> None:
                flaky._handle(self, target)

            do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = _handle  # noqa: N815 - names of the library

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05})

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def _handle(self, request: BaseHTTPRequestHandler, target: str) -> None:
        body = request.rfile.read(int(request.headers.get("Content-Length", 0)))
        self.bodies.append(body)
        fate = self.plan.popleft() if self.plan else "pass"
        request.close_connection = True
        if fate == "cut":
            return None
        if fate[0].isdigit():
            status, _, seconds = fate.partition(" ")
            return _answer(request, int(status), {"Retry-After": seconds} if seconds else {}, b"")
        kept = {k: v for k, v in request.headers.items() if k.lower() not in ("host", "connection")}
        answer = httpx.request(request.command, target + request.path, headers=kept, content=body, timeout=30)
        if fate == "pass":
            headers = {k: v for k, v in answer.headers.items() if k in ("content-type", "retry-after")}
            _answer(request, answer.status_code, headers, answer.content)
        return None


def _answer(request: BaseHTTPRequestHandler, status: int, headers: dict[str, str], body: bytes) -> None:
    request.send_response(status)
    for name, value in (headers | {"Content-Length": str(len(body))}).items():
        request.send_header(name, value)
    request.end_headers()
    request.wfile.write(body)
