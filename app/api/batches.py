"""Many recommendations in one request: one outcome an entry, in order."""

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable, Sequence

from fastapi.exceptions import RequestValidationError

from app.api.direct import parsed
from app.api.errors import problem_of
from app.api.schemas.recommendations import RecommendationRequest
from app.core.errors import Invalid, TransRecError
from app.serving.batcher import MAX_BATCH

log = logging.getLogger(__name__)
MOST_ITEMS = 5000  # of all entries together: an answer is made in memory
Answer = Callable[[RecommendationRequest], Awaitable[bytes]]


async def outcomes(entries: Sequence[object], share: int, answer: Answer) -> bytes:
    """A `BatchOut`; takes no more places in the queue than one of the model's batches or the share."""
    turn = asyncio.Semaphore(min(share, MAX_BATCH))
    left = MOST_ITEMS

    async def outcome(entry: object) -> bytes:
        nonlocal left
        try:
            body = parsed(RecommendationRequest, entry)
            if body.count > left:
                raise Invalid(
                    f"The entries of a batch ask for at most {MOST_ITEMS} items together. "
                    "Send this one in another batch.",
                    field="count",
                )
            left -= body.count
            async with turn:
                return b'{"status":200,"recommendation":%b}' % await answer(body)
        except Exception as error:
            if not isinstance(error, TransRecError | RequestValidationError):
                log.exception("an entry of a batch failed")
            return _refusal(error)

    return b'{"results":[%b]}' % b",".join(await asyncio.gather(*map(outcome, entries)))


def _refusal(error: Exception) -> bytes:
    refused = problem_of(error)
    problem = json.loads(bytes(refused.body))
    if "Retry-After" in refused.headers:
        problem["retry_after"] = int(refused.headers["Retry-After"])
    return json.dumps({"status": refused.status_code, "problem": problem}).encode()
