"""A channel's catalogue, its interactions, and the files that brought them."""

from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, ForeignKey, ForeignKeyConstraint, Index, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from app.store.tables.base import Base, Serial, channel_key


class Channel(Base):
    """One catalogue with its interactions and its adapters; `generation` grows when serving must look.

    `items_revision` and `events_revision` say at what: see `app.store.revisions`. `pending_events` are
    those that came one by one since `settled_at`, when `events_revision` was last raised for such.
    `modality`, "text" or "image", is what of an item is encoded; it never changes.
    """

    __tablename__ = "channels"
    __table_args__ = (UniqueConstraint("tenant_id", "name"),)
    id: Mapped[str] = mapped_column(primary_key=True)
    tenant_id: Mapped[str] = mapped_column(ForeignKey("tenants.id", ondelete="CASCADE"))
    name: Mapped[str]
    description: Mapped[str]
    modality: Mapped[str] = mapped_column(server_default="text")
    generation: Mapped[int] = mapped_column(default=0)
    items_revision: Mapped[int] = mapped_column(default=0, server_default="0")
    events_revision: Mapped[int] = mapped_column(default=0, server_default="0")
    pending_events: Mapped[int] = mapped_column(default=0, server_default="0")
    settled_at: Mapped[datetime | None]
    next_version: Mapped[int] = mapped_column(default=1)
    created_at: Mapped[datetime]


class Item(Base):
    """An item of a channel's catalogue; `seq` is the order of arrival.

    `revision` is the channel's `items_revision` at which the item, or its image, was last written.
    """

    __tablename__ = "items"
    __table_args__ = (UniqueConstraint("channel_id", "item_id"), Index(None, "channel_id", "revision"))
    seq: Mapped[int] = mapped_column(Serial, primary_key=True, autoincrement=True)
    channel_id: Mapped[str] = channel_key()
    item_id: Mapped[str]
    text: Mapped[str]
    attributes: Mapped[dict[str, Any]]
    revision: Mapped[int] = mapped_column(default=0, server_default="0")


class DeletedItem(Base):
    """That an item was deleted, and at which `items_revision`; gone again once the item is back."""

    __tablename__ = "deleted_items"
    __table_args__ = (Index(None, "channel_id", "revision"),)
    channel_id: Mapped[str] = channel_key(primary_key=True)
    item_id: Mapped[str] = mapped_column(primary_key=True)
    revision: Mapped[int]


class ItemImage(Base):
    """The image of an item, encoded as it was sent; it goes when its item goes."""

    __tablename__ = "item_images"
    __table_args__ = (
        ForeignKeyConstraint(
            ["channel_id", "item_id"], ["items.channel_id", "items.item_id"], ondelete="CASCADE"
        ),
    )
    channel_id: Mapped[str] = mapped_column(primary_key=True)
    item_id: Mapped[str] = mapped_column(primary_key=True)
    sha256: Mapped[str]
    format: Mapped[str]
    width: Mapped[int]
    height: Mapped[int]
    data: Mapped[bytes] = mapped_column(deferred=True)


class Interaction(Base):
    """A user met an item; `timestamp` is in milliseconds since 1970, UTC.

    `event_id` is the sender's name of an event that came by itself: once a channel.
    """

    __tablename__ = "interactions"
    __table_args__ = (
        UniqueConstraint("channel_id", "user_id", "item_id", "timestamp"),
        Index(None, "channel_id", "user_id", "timestamp"),
        Index(None, "channel_id", "event_id", unique=True),
    )
    seq: Mapped[int] = mapped_column(Serial, primary_key=True, autoincrement=True)
    channel_id: Mapped[str] = channel_key()
    user_id: Mapped[str]
    item_id: Mapped[str]
    timestamp: Mapped[int] = mapped_column(BigInteger)
    event_id: Mapped[str | None]


class Import(Base):
    """A file that was sent in, and what became of it; `errors` holds the first 1000 bad lines."""

    __tablename__ = "imports"
    id: Mapped[str] = mapped_column(primary_key=True)
    channel_id: Mapped[str] = mapped_column(ForeignKey("channels.id", ondelete="CASCADE"), index=True)
    kind: Mapped[str]
    format: Mapped[str]
    sha256: Mapped[str]
    status: Mapped[str]
    rows: Mapped[int]
    inserted: Mapped[int]
    updated: Mapped[int]
    unchanged: Mapped[int]
    error_count: Mapped[int]
    errors: Mapped[list[dict[str, Any]]]
    created_at: Mapped[datetime]
    created_by: Mapped[str]
