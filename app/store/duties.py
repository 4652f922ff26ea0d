"""Duties: regular tasks that one process at a time does; whoever has one loses it by not renewing it."""

from datetime import timedelta

from sqlalchemy import delete, or_
from sqlalchemy.orm import Session

from app.store.db import db_now, insert_into
from app.store.tables import Duty


def take(s: Session, name: str, owner: str, seconds: float) -> bool:
    """Take a duty for so long, by the database's clock, or renew it; False while another process has it."""
    at = db_now(s)
    row = {"name": name, "owner": owner, "expires_at": at + timedelta(seconds=seconds)}
    insert = insert_into(s, Duty).values(row)
    statement = insert.on_conflict_do_update(
        index_elements=["name"],
        set_={"owner": insert.excluded.owner, "expires_at": insert.excluded.expires_at},
        where=or_(Duty.owner == owner, Duty.expires_at < at),
    )
    return s.scalar(statement.returning(Duty.name)) is not None


def give_back(s: Session, name: str, owner: str) -> None:
    """Let another process have it at once."""
    s.execute(delete(Duty).where(Duty.name == name, Duty.owner == owner))
