"""The rules for one event: an object of a request in, a row of the store or a reason out."""

from collections.abc import Sequence
from dataclasses import dataclass

from app.core.attribution import Origin, origin_of
from app.store.rows import BadRow, parse_id, parse_timestamp

FIELDS = frozenset({"event_id", "user_id", "item_id", "timestamp", "recommendation_id"})
MAX_AHEAD = 24 * 3600 * 1000  # milliseconds; a client's clock must not put an event at the end for ever


@dataclass(frozen=True, slots=True)
class EventRow:
    """A user met an item, told by itself; `index` is its place in the request.

    `origin` is what the recommendation's id says, if it came from one.
    """

    index: int
    user_id: str
    item_id: str
    timestamp: int
    event_id: str | None = None
    recommendation_id: str | None = None
    origin: Origin | None = None


@dataclass(frozen=True, slots=True)
class Rejected:
    """An event that was not stored, by its place in the request."""

    index: int
    reason: str


def parse_events(events: Sequence[object], received: int) -> tuple[list[EventRow], list[Rejected]]:
    """Check each event by itself; `received`, in milliseconds, is its time if it says none."""
    rows: list[EventRow] = []
    rejected: list[Rejected] = []
    for index, event in enumerate(events):
        try:
            rows.append(_parse(index, event, received))
        except BadRow as error:
            rejected.append(Rejected(index, str(error)))
    return rows, rejected


def _parse(index: int, event: object, received: int) -> EventRow:
    if not isinstance(event, dict):
        raise BadRow("the event is no object")
    unknown = sorted(event.keys() - FIELDS)
    if unknown:
        raise BadRow(f"there is no field {unknown[0][:40]!r}; there are {', '.join(sorted(FIELDS))}")
    user_id, item_id = (parse_id(event.get(name), name) for name in ("user_id", "item_id"))
    event_id, recommendation_id = event.get("event_id"), event.get("recommendation_id")
    return EventRow(
        index,
        user_id,
        item_id,
        _timestamp(event.get("timestamp"), received),
        None if event_id is None else parse_id(event_id, "event_id"),
        recommendation_id,
        None if recommendation_id is None else _origin(recommendation_id),
    )


def _timestamp(value: object, received: int) -> int:
    if value is None:
        return received
    timestamp = parse_timestamp(value)
    if timestamp > received + MAX_AHEAD:
        raise BadRow("the timestamp is more than 24 hours ahead of the server's clock: correct yours")
    return timestamp


def _origin(recommendation_id: object) -> Origin:
    origin = origin_of(recommendation_id) if isinstance(recommendation_id, str) else None
    if origin is None:
        raise BadRow("the recommendation_id is none: send the one of the answer, or leave it out")
    return origin
