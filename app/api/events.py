"""Events: what users do, as it happens."""

from fastapi import APIRouter

from app.api.deps import EventsDep, RememberedWriter
from app.api.schemas.events import EventsStored, NewEvents, RejectedEvent
from app.core import metrics
from app.core.clock import milliseconds, now
from app.store.event_rows import parse_events

router = APIRouter(prefix="/v1/channels/{channel}/events", tags=["events"])


@router.post("")
async def create_events(body: NewEvents, access: RememberedWriter, events: EventsDep) -> EventsStored:
    """Store at most 1,000 events, each by itself: a bad one is listed and does not stop the others.

    The same `event_id`, or the same user, item and timestamp, is stored once: send again what got no answer.
    The next answer for these users reflects what was accepted.
    """
    rows, rejected = parse_events(body.events, received=milliseconds(now()))
    duplicates = accepted = 0
    if rows:
        written = await events.write(access.channel_id, rows, access.channel.tenant_id)
        accepted, duplicates = written.accepted, written.duplicates
        rejected = sorted([*rejected, *written.rejected], key=lambda each: each.index)
    for outcome, count in (("stored", accepted), ("duplicate", duplicates), ("refused", len(rejected))):
        metrics.events(outcome, count)
    return EventsStored(
        accepted=accepted,
        duplicates=duplicates,
        rejected=[RejectedEvent.model_validate(each) for each in rejected],
    )
