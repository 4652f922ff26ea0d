"""Ask a running service for one recommendation: `OPERATOR_KEY=... python deploy/smoke.py http://127.0.0.1:8000`.

Waits until it is ready, makes a tenant and a channel of three items; status 1 when no answer comes.
The standard library is enough, so it runs anywhere.
"""

import json
import os
import sys
import time
from collections.abc import Callable
from typing import Any
from urllib.error import URLError
from urllib.request import Request, urlopen
from uuid import uuid4

LIMIT = 180
ITEMS = "item_id,text\nbread,fresh white bread\nrolls,fresh bread rolls\nsoap,hand soap\n"


def main(url: str, key: str) -> None:
    """Ask; prints what came."""

    def call(method: str, path: str, body: bytes = b"", kind: str = "application/json") -> Any:
        headers = {"Authorization": f"Bearer {key}", "Content-Type": kind}
        request = Request(url + path, body or None, headers, method=method)  # noqa: S310 - our own address
        with urlopen(request, timeout=30) as answer:  # noqa: S310
            return json.load(answer)

    print("ready:", patient(lambda: call("GET", "/health/ready"))["status"])
    tenant = f"smoke-{uuid4().hex[:8]}"
    call("POST", "/v1/admin/tenants", json.dumps({"name": tenant}).encode())
    call("POST", f"/v1/admin/channels?tenant={tenant}", b'{"name": "shelf"}')
    path = f"/v1/channels/shelf/imports?kind=items&format=csv&tenant={tenant}"
    print("imported:", call("POST", path, ITEMS.encode(), "text/csv")["inserted"])
    path, asked = f"/v1/channels/shelf/recommendations?tenant={tenant}", b'{"history": ["bread"], "count": 2}'
    items = patient(lambda: call("POST", path, asked)["items"] or None)
    print("recommended:", [item["item_id"] for item in items])
    if sorted(item["item_id"] for item in items) != ["rolls", "soap"]:
        sys.exit("Not what was asked for.")


def patient(ask: Callable[[], Any]) -> Any:
    """The first answer that is one; the last error when none comes in time."""
    end = time.monotonic() + LIMIT
    while True:
        try:
            if (answer := ask()) is not None:
                return answer
            problem = "an empty answer"
        except (URLError, ConnectionError, TimeoutError) as error:
            problem = str(error)
        if time.monotonic() > end:
            sys.exit(f"No answer in {LIMIT} s: {problem}")
        time.sleep(0.5)


if __name__ == "__main__":
    main(sys.argv[1].rstrip("/"), os.environ["OPERATOR_KEY"])
