"""What is known of the request that is being answered: its id, and who asks. Every log line of it says so.

A context variable: threads that a request is handed to see it too, threads of the background do not.
"""

import re
from collections.abc import Mapping
from contextvars import ContextVar

from app.core.ids import new_id

_SANE = re.compile(r"[A-Za-z0-9._:@/+=-]{1,128}")
_facts: ContextVar[dict[str, str] | None] = ContextVar("request", default=None)


def begin(asked: str) -> str:
    """Begin a request; returns its id: the client's own if that is short and plain, else a new one."""
    request_id = asked if _SANE.fullmatch(asked) else new_id("req")
    _facts.set({"request_id": request_id})  # never reset: the request's task ends with it
    return request_id


def note(**facts: str | None) -> None:
    """Add to what is known of this request, such as `tenant_id`; does nothing outside of one."""
    known = _facts.get()
    if known is not None:
        known.update({name: value for name, value in facts.items() if value is not None})


def facts() -> Mapping[str, str]:
    """What is known of this request; empty outside of one."""
    return _facts.get() or {}
