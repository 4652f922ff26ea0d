"""What was answered and what became of it; who looks after it."""

from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, Index
from sqlalchemy.orm import Mapped, mapped_column

from app.store.tables.base import Base, channel_key


class Rollout(Base):
    """How a channel's challenger is tried: on a `share` of the users, from 0 to 1, and in the shadow.

    `rule` says when it is taken back by itself.
    """

    __tablename__ = "rollouts"
    channel_id: Mapped[str] = channel_key(primary_key=True)
    share: Mapped[float]
    shadow: Mapped[bool]
    rule: Mapped[dict[str, Any]]
    started_at: Mapped[datetime]
    started_by: Mapped[str]


class Guard(Base):
    """The rule that a new champion is held to after its promotion, beside `previous`."""

    __tablename__ = "guards"
    channel_id: Mapped[str] = channel_key(primary_key=True)
    version: Mapped[int]
    previous: Mapped[int]
    rule: Mapped[dict[str, Any]]
    started_at: Mapped[datetime]
    started_by: Mapped[str]


class Impressions(Base):
    """How many recommendations a version gave in a minute (its start, in milliseconds since 1970)."""

    __tablename__ = "impressions"
    channel_id: Mapped[str] = channel_key(primary_key=True)
    minute: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    version: Mapped[int] = mapped_column(primary_key=True)
    variant: Mapped[str] = mapped_column(primary_key=True)
    recommendations: Mapped[int] = mapped_column(BigInteger)


class Click(Base):
    """That an item was met from a recommendation; `at` is in milliseconds since 1970."""

    __tablename__ = "clicks"
    __table_args__ = (Index(None, "channel_id", "at"),)
    channel_id: Mapped[str] = channel_key(primary_key=True)
    recommendation_id: Mapped[str] = mapped_column(primary_key=True)
    item_id: Mapped[str] = mapped_column(primary_key=True)
    version: Mapped[int]
    variant: Mapped[str]
    at: Mapped[int] = mapped_column(BigInteger)


class ShadowResult(Base):
    """How a challenger's answers of a minute compare with those that were given: sums over `queries`."""

    __tablename__ = "shadow_results"
    channel_id: Mapped[str] = channel_key(primary_key=True)
    minute: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    version: Mapped[int] = mapped_column(primary_key=True)
    queries: Mapped[int] = mapped_column(BigInteger)
    overlap: Mapped[float]
    same_first: Mapped[int] = mapped_column(BigInteger)


class Duty(Base):
    """A regular task that one process at a time does; `owner` has it until `expires_at`."""

    __tablename__ = "duties"
    __table_args__ = {"info": {"backup": False}}  # noqa: RUF012 - SQLAlchemy's own form
    name: Mapped[str] = mapped_column(primary_key=True)
    owner: Mapped[str]
    expires_at: Mapped[datetime]
