"""Retention: adapters beyond a channel's newest few are deleted; their numbers are never given again."""

from sqlalchemy import delete, func, select
from sqlalchemy.orm import Session

from app.core.errors import NotFound
from app.store import aliases, releases
from app.store.aliases import CHALLENGER
from app.store.db import Database
from app.store.tables import Adapter, ItemVectors


def drop_old(db: Database, keep: int) -> int:
    """Delete every channel's adapters beyond its newest `keep` (0: none); returns how many went.

    Champion, challenger and what a rollback would return to stay.
    """
    if not keep:
        return 0
    with db.read() as s:
        query = select(Adapter.channel_id).group_by(Adapter.channel_id).having(func.count() > keep)
        many = s.scalars(query).all()
    return sum(_drop(db, channel_id, keep) for channel_id in many)


def _drop(db: Database, channel_id: str, keep: int) -> int:
    with db.session() as s:
        try:
            champion = aliases.lock(s, channel_id).version
        except NotFound:  # gone meanwhile
            return 0
        versions = _versions(s, channel_id)
        challenger = aliases.pointed_at(s, channel_id, CHALLENGER)
        named = {champion, challenger and challenger.version}
        stay = named | {*versions[:keep], releases.version_before(s, channel_id, champion)}
        gone = [version for version in versions if version not in stay]
        _delete(s, channel_id, gone)
        return len(gone)


def _versions(s: Session, channel_id: str) -> list[int]:
    query = select(Adapter.version).where(Adapter.channel_id == channel_id)
    return list(s.scalars(query.order_by(Adapter.version.desc())))


def _delete(s: Session, channel_id: str, versions: list[int]) -> None:
    mine = select(Adapter.sha256).where(Adapter.channel_id == channel_id)
    digests = set(s.scalars(mine.where(Adapter.version.in_(versions))))
    # Their releases go with them.
    s.execute(delete(Adapter).where(Adapter.channel_id == channel_id, Adapter.version.in_(versions)))
    unused = digests - set(s.scalars(mine))  # the same file may have been uploaded twice
    s.execute(
        delete(ItemVectors).where(
            ItemVectors.channel_id == channel_id, ItemVectors.adapter_sha256.in_(unused)
        )
    )
