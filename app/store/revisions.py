"""Revisions: how a reader of a channel asks only for what changed since it last looked.

`items_revision` rises with the catalogue (items, texts, attributes, images), `events_revision` with the
interactions, `generation` with both and with every move of the champion.

An item carries the revision at which it was last written. So revisions must be committed in their order: a
reader that has seen 8 would never ask again for rows of 7 that are committed later. Writers of one catalogue
therefore take turns, from before their first look to their commit. Holding the channel's row would do that
too, but a promote and an import of interactions write that row, and must not wait for a long import of items:
so the turn is a lock of its own, and the row is written last.

Events that come one by one raise no revision at once: releases and cached histories carry it, so each event
would throw all of them away. They are counted (`pending_events`) and *settled* now and then; meanwhile
`app.store.histories` sees to it that answers reflect them.
"""

from collections.abc import Collection, Iterable
from datetime import datetime

from sqlalchemy import ColumnElement, and_, exists, func, or_, select, text, update
from sqlalchemy.orm import Session

from app.core.clock import now
from app.store.channels import channel_gone
from app.store.chunks import MOST_IDS, chunked
from app.store.tables import Channel

_CATALOGUE = 741_815_031  # any fixed number: the first key of PostgreSQL's advisory locks of catalogues
_TURN_SECONDS = 30  # as long as a writer waits on SQLite


def next_items(s: Session, channel_id: str) -> int:
    """Wait for the turn to write the catalogue, kept to the transaction's end; returns the revision to write.

    Raises `Unavailable` after 30 seconds, `NotFound` when the channel is gone.
    """
    if s.get_bind().dialect.name == "postgresql":  # on SQLite all write transactions take turns
        s.execute(text(f"SET LOCAL lock_timeout = '{_TURN_SECONDS}s'"))
        s.execute(select(func.pg_advisory_xact_lock(_CATALOGUE, func.hashtext(channel_id))))
    # Read by a statement of its own after the wait: it sees what the writer before has committed.
    return items_revision(s, channel_id) + 1


def items_revision(s: Session, channel_id: str) -> int:
    """Return the revision of the catalogue; raises `NotFound` when the channel is gone."""
    revision = s.scalar(select(Channel.items_revision).where(Channel.id == channel_id))
    if revision is None:
        raise channel_gone()
    return revision


def raise_items(s: Session, channel_id: str) -> None:
    """Make the revision that `next_items` gave the channel's: the last thing that a writer does."""
    s.execute(
        update(Channel)
        .where(Channel.id == channel_id)
        .values(items_revision=Channel.items_revision + 1, generation=Channel.generation + 1)
    )


def events_revision(s: Session, channel_id: str) -> int:
    """Return the revision of the interactions; raises `NotFound` when the channel is gone."""
    revision = s.scalar(select(Channel.events_revision).where(Channel.id == channel_id))
    if revision is None:
        raise channel_gone()
    return revision


def raise_events(s: Session, channel_id: str) -> None:
    """Tell that interactions were added: the last thing that a writer does, for it locks the channel's row.

    They need no turns: no interaction carries a revision, so it is enough that every commit raises it.
    """
    s.execute(
        update(Channel)
        .where(Channel.id == channel_id)
        .values(events_revision=Channel.events_revision + 1, generation=Channel.generation + 1)
    )


def count_pending(s: Session, events: Iterable[tuple[str, int]]) -> None:
    """Count new events that are to be settled, by channel id: the last thing that their writer does."""
    for channel_id, new in sorted(events):  # in this order, so that two writers never wait for each other
        s.execute(
            update(Channel)
            .where(Channel.id == channel_id)
            .values(pending_events=Channel.pending_events + new)
        )


def is_settling_due(s: Session, before: datetime | None) -> bool:
    """Whether `settle` would do something."""
    return bool(s.scalar(select(exists().where(_is_due(before)))))


def settle(s: Session, before: datetime | None) -> int:
    """Raise the revision of the channels with events that were last settled `before` then (None: of all with
    events); returns how many there were.

    Whichever process comes first does it; with a clock that is wrong it comes sooner or later.
    """
    statement = (
        update(Channel)
        .where(_is_due(before))
        .values(
            events_revision=Channel.events_revision + 1,
            generation=Channel.generation + 1,
            pending_events=0,
            settled_at=now(),
        )
        .returning(Channel.id)
    )
    return len(s.scalars(statement, execution_options={"synchronize_session": False}).all())


def raise_histories(s: Session, channel_ids: Collection[str]) -> dict[str, int]:
    """Make every process ask anew for these channels' histories, but build no release; returns the new
    `events_revision` of each.
    """
    raised: dict[str, int] = {}
    for chunk in chunked(sorted(channel_ids), MOST_IDS):
        statement = (
            update(Channel)
            .where(Channel.id.in_(chunk))
            .values(events_revision=Channel.events_revision + 1)
            .returning(Channel.id, Channel.events_revision)
        )
        rows = s.execute(statement, execution_options={"synchronize_session": False})
        raised |= dict(rows.all())
    return raised


def _is_due(before: datetime | None) -> ColumnElement[bool]:
    pending = Channel.pending_events > 0
    if before is None:
        return pending
    return and_(pending, or_(Channel.settled_at.is_(None), Channel.settled_at < before))
