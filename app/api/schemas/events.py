"""Events."""

from typing import Any

from pydantic import Field

from app.api.schemas.base import Answer, Body

_EXAMPLE = {"event_id": "e-1", "user_id": "user-1", "item_id": "item-1", "timestamp": "2026-01-31T12:00:00Z"}


class NewEvents(Body):
    """Events to store, each by itself."""

    events: list[Any] = Field(
        min_length=1,
        max_length=1000,
        examples=[[_EXAMPLE]],
        description="Objects with user_id and item_id, and if known: event_id, timestamp, recommendation_id.",
    )


class RejectedEvent(Answer):
    """An event that was not stored."""

    index: int = Field(description="Its place in `events`, from 0.")
    reason: str


class EventsStored(Answer):
    """What became of the events; those accepted are in the database, and the next answer reflects them."""

    accepted: int
    duplicates: int
    rejected: list[RejectedEvent]
