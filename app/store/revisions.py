"""Revisions: how a reader of a channel asks only for what changed since it last looked.

`items_revision` rises with the catalogue (items, texts, attributes, images), `events_revision` with the
interactions, `generation` with both and with every move of the champion.

An item carries the revision at which it was last written. So revisions must be committed in their order: a
reader that has seen 8 would never ask again for rows of 7 that are committed later. Writers of one catalogue
therefore take turns, from before their first look to their commit. Holding the channel's row would do that
too, but a promote and an import of interactions write that row, and must not wait for a long import of items:
so the turn is a lock of its own, and the row is written last.
"""

from sqlalchemy import func, select, text, update
from sqlalchemy.orm import Session

from app.core.errors import NotFound
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
        raise NotFound("The channel is gone. List the channels to see those there are.")
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
        raise NotFound("The channel is gone. List the channels to see those there are.")
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
