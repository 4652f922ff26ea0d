"""Users of a channel as people look for them: by how an id begins, by chance, and what one of them met."""

import random
from typing import Any, NamedTuple

from sqlalchemy import Integer, func, literal, select
from sqlalchemy.orm import Session, aliased

from app.store.tables import Interaction, Item

MOST_STEPS = 500  # users looked at for one answer, each by one look into the index
DEPTH = 100_000  # interactions, in the order of users' ids, among which one is drawn


class MetItem(NamedTuple):
    """An item that a user met; `text` is None where the catalogue lacks it."""

    item_id: str
    timestamp: int
    text: str | None
    attributes: dict[str, Any] | None


def find_users(s: Session, channel_id: str, prefix: str, after: str, limit: int) -> list[str]:
    """Return at most `limit` ids of users that begin with `prefix`, those behind the id `after`.

    Where the database does not sort by code points, some may be missing that it sorts far from the prefix.
    """
    first = select(func.min(Interaction.user_id)).where(
        Interaction.channel_id == channel_id, Interaction.user_id >= prefix, Interaction.user_id > after
    )
    walk = select(first.scalar_subquery().label("user_id"), literal(1, Integer).label("step")).cte(
        "walk", recursive=True
    )
    # One look a user: who has met 10,000 items costs no more than who has met one.
    above = aliased(Interaction)
    following = select(func.min(above.user_id)).where(
        above.channel_id == channel_id, above.user_id > walk.c.user_id
    )
    walk = walk.union_all(
        select(following.scalar_subquery(), walk.c.step + 1).where(
            walk.c.user_id.is_not(None), walk.c.step < MOST_STEPS
        )
    )
    begins = func.substr(walk.c.user_id, 1, len(prefix)) == prefix
    found = select(walk.c.user_id).where(walk.c.user_id.is_not(None), begins)
    return list(s.scalars(found.order_by(walk.c.step).limit(limit)))


def random_user(s: Session, channel_id: str) -> str | None:
    """Return a user drawn by chance, the more likely the more it met; None in a channel without users."""
    query = select(Interaction.user_id).where(Interaction.channel_id == channel_id)
    among = s.scalar(select(func.count()).select_from(query.limit(DEPTH).subquery())) or 0
    if not among:
        return None
    # In the order of an index, so that nothing is sorted.
    return s.scalar(query.order_by(Interaction.user_id).offset(random.randrange(among)).limit(1))


def met_items(s: Session, channel_id: str, user_id: str, limit: int) -> list[MetItem]:
    """Return the items that a user met, the newest first."""
    query = (
        select(Interaction.item_id, Interaction.timestamp, Item.text, Item.attributes)
        .outerjoin(Item, (Item.channel_id == Interaction.channel_id) & (Item.item_id == Interaction.item_id))
        .where(Interaction.channel_id == channel_id, Interaction.user_id == user_id)
        .order_by(Interaction.timestamp.desc(), Interaction.seq.desc())
        .limit(limit)
    )
    return [MetItem(*row) for row in s.execute(query)]
