"""What both clients know, and how a call becomes a request of httpx."""

import os
from copy import copy
from typing import Any, Self, TypeVar

import httpx
from pydantic import ValidationError

from app.api.schemas.jobs import JobOut
from app.client import calls
from app.client.call import Call, one
from app.client.errors import ApiError, ClientError
from app.client.operations import Operations
from app.client.upload import Upload

T = TypeVar("T")
LOCAL = "http://127.0.0.1:8000"
_QUIET = 60.0  # seconds; a stream that lives says something every 15


class Connection(Operations):
    """What a client knows: the server, whose key, whose tenant."""

    def __init__(
        self,
        url: str | None = None,
        key: str | None = None,
        tenant: str | None = None,
        *,
        timeout: float = 30.0,
        retries: int = 4,
    ) -> None:
        """What is not given comes from TRANSREC_URL, TRANSREC_KEY and TRANSREC_TENANT.

        `tenant` is for the platform operator's key, which belongs to none; `timeout` is in seconds, for
        one attempt; after `retries` more attempts the last error is raised.

        Raises `ClientError` for what is no address and no key.
        """
        self.url = str(address(url or os.environ.get("TRANSREC_URL") or LOCAL)).rstrip("/")
        self.retries = retries
        self._timeout = timeout
        self.tenant_name = tenant or os.environ.get("TRANSREC_TENANT") or None
        secret = (key or os.environ.get("TRANSREC_KEY") or "").strip()
        if not (secret.isascii() and secret.isprintable()):
            raise ClientError("The key has characters that no key has. Copy it again.")
        headers = {"Authorization": f"Bearer {secret}"} if secret else {}
        self._open({"base_url": self.url, "headers": headers})

    def _open(self, options: dict[str, Any]) -> None:
        raise NotImplementedError

    def for_tenant(self, name: str | None) -> Self:
        """The same client, with the same connections, for another tenant (platform operator)."""
        other = copy(self)
        other.tenant_name = name
        return other

    def _request(self, call: Call[Any], content: object) -> dict[str, Any]:
        """What httpx makes a request of."""
        query = {k: v for k, v in call.query.items() if v is not None}
        if call.of_tenant and self.tenant_name:
            query["tenant"] = self.tenant_name
        timeout = httpx.Timeout(self._timeout, read=call.seconds) if call.seconds else self._timeout
        asked = {"method": call.method, "url": call.path, "params": query, "timeout": timeout}
        if isinstance(call.body, Upload):
            return asked | {"content": content, "headers": _headers(call.body)}
        if call.body is not None:  # what was left out is left out: the server knows the defaults
            text = call.body.model_dump_json(exclude_unset=True, by_alias=True)
            return asked | {"content": text, "headers": {"Content-Type": "application/json"}}
        return asked

    def _watch(self, channel: str, job_id: str) -> dict[str, Any]:
        call = Call("GET", calls.jobs.path(channel, job_id, "events"), one(JobOut), seconds=_QUIET)
        return self._request(call, None)


def address(url: str) -> httpx.URL:
    """A server's address; raises `ClientError` for what is none."""
    try:
        found = httpx.URL(url)
    except httpx.InvalidURL:
        found = httpx.URL()
    if found.scheme not in ("http", "https") or not found.host:
        raise ClientError(f"{url!r} is no address: write http://HOST:PORT.")
    if "v1" in found.path.split("/"):
        raise ClientError(f"{url!r} names a route: write the address without it, as http://HOST:PORT.")
    return found


def _headers(upload: Upload) -> dict[str, str]:
    coding = {"Content-Encoding": "gzip"} if upload.gzipped else {}
    return {"Content-Type": "application/octet-stream", "Content-Length": str(upload.size), **coding}


def result(call: Call[T], response: httpx.Response) -> T:
    """What a call asked for.

    Raises `ApiError` for anything but a success, `ClientError` for what is no answer to it.
    """
    if not response.is_success:
        raise ApiError.of(response)
    try:
        return call.read(response.content)
    except ValidationError as error:
        raise ClientError(
            f"{response.url.copy_with(query=None)} has answered what this client cannot read. "
            "Check the address, and that client and server have the same version."
        ) from error
