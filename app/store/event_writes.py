"""Events that come one by one: those of many requests, and of many channels, in one transaction."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.store import revisions
from app.store.chunks import MOST_IDS, chunked
from app.store.db import insert_into
from app.store.event_rows import EventRow, Rejected
from app.store.tables import Click, Interaction, Item

_CHUNK = 1000
_Met = tuple[str, str, str, int]


@dataclass(frozen=True, slots=True)
class Sent:
    """The events of one request, and the tenant whose quota they count for."""

    channel_id: str
    events: Sequence[EventRow]
    tenant_id: str = ""


@dataclass(slots=True)
class Written:
    """What became of the events of one request; `users` are those whose history has changed."""

    accepted: int = 0
    duplicates: int = 0
    rejected: list[Rejected] = field(default_factory=list)
    users: set[str] = field(default_factory=set)


def write_events(s: Session, requests: Sequence[Sent]) -> list[Written]:
    """Store the events of these requests, but none twice: neither an `event_id` of a channel, nor a user,
    item and timestamp. Events of items that are not in the catalogue are rejected.
    """
    known = _known_items(s, requests)
    new = _insert(
        s, [(r.channel_id, e) for r in requests for e in r.events if (r.channel_id, e.item_id) in known]
    )
    clicks: list[tuple[str, EventRow]] = []
    counts: defaultdict[str, int] = defaultdict(int)
    results = []
    for request in requests:
        written, accepted = _outcome(request, known, new)
        clicks += [(request.channel_id, event) for event in accepted if event.origin]
        counts[request.channel_id] += written.accepted
        results.append(written)
    _insert_clicks(s, clicks)
    revisions.count_pending(s, ((channel_id, count) for channel_id, count in counts.items() if count))
    return results


def _outcome(request: Sent, known: set[tuple[str, str]], new: set[_Met]) -> tuple[Written, list[EventRow]]:
    """What became of a request; takes what it has stored out of `new`: the same again is a duplicate."""
    written, accepted = Written(), []
    for event in request.events:
        met = _met(request.channel_id, event)
        if (request.channel_id, event.item_id) not in known:
            reason = f"item {event.item_id!r} is not in the catalogue: upload it first"
            written.rejected.append(Rejected(event.index, reason))
        elif met in new:
            new.remove(met)
            accepted.append(event)
        else:
            written.duplicates += 1
    written.accepted = len(accepted)
    written.users = {event.user_id for event in accepted}
    return written, accepted


def _known_items(s: Session, requests: Sequence[Sent]) -> set[tuple[str, str]]:
    asked: defaultdict[str, set[str]] = defaultdict(set)
    for request in requests:
        asked[request.channel_id].update(event.item_id for event in request.events)
    known: set[tuple[str, str]] = set()
    for channel_id, ids in asked.items():
        for chunk in chunked(ids, MOST_IDS):
            query = select(Item.item_id).where(Item.channel_id == channel_id, Item.item_id.in_(chunk))
            known |= {(channel_id, item_id) for item_id in s.scalars(query)}
    return known


def _insert(s: Session, events: Iterable[tuple[str, EventRow]]) -> set[_Met]:
    """Insert what is new, and return it."""
    insert = insert_into(s, Interaction).on_conflict_do_nothing()
    columns = (Interaction.channel_id, Interaction.user_id, Interaction.item_id, Interaction.timestamp)
    # So two writers lock in one order, mostly; the events of one moment stay in the order in which they came.
    ordered = sorted(events, key=lambda event: (event[0], event[1].user_id, event[1].timestamp))
    new: set[_Met] = set()
    for chunk in chunked(ordered, _CHUNK):
        rows = [_row(*event) for event in chunk]
        new.update((c, u, i, t) for c, u, i, t in s.execute(insert.returning(*columns), rows))
    return new


def _insert_clicks(s: Session, clicks: Sequence[tuple[str, EventRow]]) -> None:
    rows = [
        {
            "channel_id": channel_id,
            "recommendation_id": event.recommendation_id,
            "item_id": event.item_id,
            "version": event.origin.version,
            "variant": event.origin.variant,
            "at": event.timestamp,
        }
        for channel_id, event in clicks
        if event.origin
    ]
    if rows:
        s.execute(insert_into(s, Click).on_conflict_do_nothing(), rows)


def _row(channel_id: str, event: EventRow) -> dict[str, object]:
    return {
        "channel_id": channel_id,
        "user_id": event.user_id,
        "item_id": event.item_id,
        "timestamp": event.timestamp,
        "event_id": event.event_id,
    }


def _met(channel_id: str, event: EventRow) -> _Met:
    return channel_id, event.user_id, event.item_id, event.timestamp
