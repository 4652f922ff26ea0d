"""What is stored of one user, over the channels of a tenant: to be shown, and to be deleted."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from sqlalchemy import ColumnElement, Text, cast, delete, func, or_, select
from sqlalchemy.orm import Session

from app.store import revisions
from app.store.tables import Channel, Import, Interaction

REDACTED = "the line held the id of a user who has been deleted"


@dataclass(frozen=True, slots=True)
class Held:
    """How much of a user a channel has: interactions, and reports of imports that quote the user's id."""

    interactions: int
    reports: int


class Met(NamedTuple):
    """An interaction as it is stored, with the name of its channel; `seq` is the order of arrival."""

    seq: int
    channel: str
    item_id: str
    timestamp: int
    event_id: str | None


def held(s: Session, channel: Channel, user_id: str) -> Held:
    """Return how much of the user the channel has."""
    query = select(func.count()).select_from(Interaction).where(*_of(channel, user_id))
    return Held(s.scalar(query) or 0, len(_reports(s, channel, user_id)))


def interactions(s: Session, channels: Sequence[Channel], user_id: str, after: int, limit: int) -> list[Met]:
    """Return the user's interactions in these channels that arrived behind `after`, `limit` at most."""
    query = (
        select(
            Interaction.seq, Channel.name, Interaction.item_id, Interaction.timestamp, Interaction.event_id
        )
        .join(Channel, Channel.id == Interaction.channel_id)
        .where(Interaction.user_id == user_id, Interaction.seq > after)
        .where(Interaction.channel_id.in_([channel.id for channel in channels]))
        .order_by(Interaction.seq)
        .limit(limit)
    )
    return [Met(*row) for row in s.execute(query)]


def delete_user(s: Session, channel: Channel, user_id: str) -> Held:
    """Delete what the channel has of the user, raise its `events_revision`; returns how much it was.

    What is committed later stays: an event that arrives at the same moment is deleted whole or stays whole.
    """
    gone = s.scalars(delete(Interaction).where(*_of(channel, user_id)).returning(Interaction.seq))
    count = len(gone.all())
    reports = _reports(s, channel, user_id)
    for report in reports:
        report.errors = [{**e, "reason": REDACTED} if _quotes(e, user_id) else e for e in report.errors]
    s.flush()
    if count:
        revisions.raise_events(s, channel.id)
    return Held(count, len(reports))


def _of(channel: Channel, user_id: str) -> tuple[ColumnElement[bool], ColumnElement[bool]]:
    return Interaction.channel_id == channel.id, Interaction.user_id == user_id


def _reports(s: Session, channel: Channel, user_id: str) -> list[Import]:
    """No report quotes what stood in the column of users; but a user's id may have stood in another one."""
    text = cast(Import.errors, Text)
    found = or_(*(text.contains(json.dumps(q)[1:-1], autoescape=True) for q in _quoted(user_id)))
    candidates = s.scalars(
        select(Import).where(Import.channel_id == channel.id, Import.error_count > 0, found)
    )
    return [report for report in candidates if any(_quotes(e, user_id) for e in report.errors)]


def _quotes(error: dict[str, object], user_id: str) -> bool:
    return any(quoted in str(error["reason"]) for quoted in _quoted(user_id))


def _quoted(user_id: str) -> set[str]:
    return {repr(user_id), repr(user_id[:40])}
