"""What is sent again, and when; tenacity does it.

- whatever cannot have arrived: the connection was refused;
- whatever was refused before any work: 429 and 503 that name by Retry-After when to come again;
- what may be done twice (`Call.idempotent`) also when nobody knows whether it arrived.
"""

from functools import partial
from typing import Any

from tenacity import RetryCallState, retry_if_exception, stop_after_attempt, wait_random_exponential

from app.client.call import Call
from app.client.errors import ApiError, Unreachable

LONGEST_WAIT = 30.0  # seconds; who is told to wait longer (over a quota, say) hears of it instead
_REFUSED = (429, 503)
_LOST = (502, 503, 504)  # of a proxy, which does not say whether the server has seen it
_backoff = wait_random_exponential(multiplier=0.25, max=8)


def policy(call: Call[Any], retries: int) -> dict[str, Any]:
    """What tenacity does with a call; the last error is raised as it is."""
    return {
        "retry": retry_if_exception(partial(_is_worth_it, call)),
        "stop": stop_after_attempt(retries + 1 if call.retried else 1),
        "wait": _wait,
        "reraise": True,
    }


def _is_worth_it(call: Call[Any], error: BaseException) -> bool:
    if isinstance(error, Unreachable):
        return call.idempotent or not error.arrived
    if not isinstance(error, ApiError):
        return False
    if error.status in _REFUSED and error.retry_after is not None:
        return error.retry_after <= LONGEST_WAIT
    return call.idempotent and error.status in _LOST


def _wait(state: RetryCallState) -> float:
    error = state.outcome.exception() if state.outcome else None
    asked = error.retry_after if isinstance(error, ApiError) else None
    return (asked or 0.0) + _backoff(state)  # on top, so that not all who were told come at once
