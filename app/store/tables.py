"""The tables. A channel's rows go when the channel goes; big binary columns load only when asked for."""

from datetime import UTC, datetime
from typing import Any, ClassVar

from sqlalchemy import (
    JSON,
    BigInteger,
    DateTime,
    Dialect,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Text,
    TypeDecorator,
    UniqueConstraint,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column


class UtcDateTime(TypeDecorator[datetime]):
    """A moment: aware UTC in Python; `timestamptz` on PostgreSQL, naive UTC text on SQLite."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Turn an aware moment into what the database stores; a naive one is a bug."""
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError("a naive datetime has no moment: use app.core.clock.now()")
        moment = value.astimezone(UTC)
        return moment.replace(tzinfo=None) if dialect.name == "sqlite" else moment

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Turn what the database stores into an aware UTC moment."""
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if dialect.name == "sqlite" else value.astimezone(UTC)


# SQLite counts up by itself only in an INTEGER primary key, which has 64 bits there anyway.
_Serial = BigInteger().with_variant(Integer, "sqlite")


class Base(DeclarativeBase):
    """All tables; constraints get predictable names so that migrations can name them."""

    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
            "pk": "pk_%(table_name)s",
        }
    )
    type_annotation_map: ClassVar[dict[Any, Any]] = {
        str: Text,
        datetime: UtcDateTime,
        dict[str, Any]: JSON,
        list[dict[str, Any]]: JSON,
        bytes: LargeBinary,
    }


def _channel_key(primary_key: bool = False) -> Mapped[str]:
    return mapped_column(ForeignKey("channels.id", ondelete="CASCADE"), primary_key=primary_key)


class Tenant(Base):
    """A customer of the platform."""

    __tablename__ = "tenants"
    id: Mapped[str] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(unique=True)
    created_at: Mapped[datetime]


class ApiKey(Base):
    """A key, stored as a hash; without a tenant it is the platform operator's."""

    __tablename__ = "api_keys"
    id: Mapped[str] = mapped_column(primary_key=True)
    tenant_id: Mapped[str | None] = mapped_column(ForeignKey("tenants.id", ondelete="CASCADE"), index=True)
    role: Mapped[str]
    label: Mapped[str]
    prefix: Mapped[str]
    hash: Mapped[str] = mapped_column(unique=True)
    created_at: Mapped[datetime]
    revoked_at: Mapped[datetime | None]


class Channel(Base):
    """One catalogue with its interactions and its adapters; `generation` grows when serving must look.

    `items_revision` and `events_revision` say at what: see `app.store.revisions`.
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
    next_version: Mapped[int] = mapped_column(default=1)
    created_at: Mapped[datetime]


class Item(Base):
    """An item of a channel's catalogue; `seq` is the order of arrival.

    `revision` is the channel's `items_revision` at which the item, or its image, was last written.
    """

    __tablename__ = "items"
    __table_args__ = (UniqueConstraint("channel_id", "item_id"), Index(None, "channel_id", "revision"))
    seq: Mapped[int] = mapped_column(_Serial, primary_key=True, autoincrement=True)
    channel_id: Mapped[str] = _channel_key()
    item_id: Mapped[str]
    text: Mapped[str]
    attributes: Mapped[dict[str, Any]]
    revision: Mapped[int] = mapped_column(default=0, server_default="0")


class DeletedItem(Base):
    """That an item was deleted, and at which `items_revision`; gone again once the item is back."""

    __tablename__ = "deleted_items"
    __table_args__ = (Index(None, "channel_id", "revision"),)
    channel_id: Mapped[str] = _channel_key(primary_key=True)
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
    """A user met an item; `timestamp` is in milliseconds since 1970, UTC."""

    __tablename__ = "interactions"
    __table_args__ = (
        UniqueConstraint("channel_id", "user_id", "item_id", "timestamp"),
        Index(None, "channel_id", "user_id", "timestamp"),
    )
    seq: Mapped[int] = mapped_column(_Serial, primary_key=True, autoincrement=True)
    channel_id: Mapped[str] = _channel_key()
    user_id: Mapped[str]
    item_id: Mapped[str]
    timestamp: Mapped[int] = mapped_column(BigInteger)


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


class TrainingJob(Base):
    """A training run; whoever holds the lease works on it."""

    __tablename__ = "training_jobs"
    id: Mapped[str] = mapped_column(primary_key=True)
    channel_id: Mapped[str] = mapped_column(ForeignKey("channels.id", ondelete="CASCADE"), index=True)
    state: Mapped[str] = mapped_column(index=True)
    config: Mapped[dict[str, Any]]
    progress: Mapped[dict[str, Any]]
    result: Mapped[dict[str, Any]]
    error: Mapped[str | None]
    attempts: Mapped[int] = mapped_column(default=0)
    lease_owner: Mapped[str | None]
    lease_expires_at: Mapped[datetime | None]
    cancel_requested: Mapped[bool] = mapped_column(default=False)
    adapter_version: Mapped[int | None]
    created_at: Mapped[datetime]
    started_at: Mapped[datetime | None]
    finished_at: Mapped[datetime | None]
    created_by: Mapped[str]


class JobCheckpoint(Base):
    """Where a job can go on after a crash; `tensors` is safetensors."""

    __tablename__ = "job_checkpoints"
    job_id: Mapped[str] = mapped_column(ForeignKey("training_jobs.id", ondelete="CASCADE"), primary_key=True)
    step: Mapped[int]
    state: Mapped[dict[str, Any]]
    tensors: Mapped[bytes] = mapped_column(deferred=True)


class Adapter(Base):
    """Trained weights (safetensors) of one channel; a version is never changed and never reused."""

    __tablename__ = "adapters"
    __table_args__ = (UniqueConstraint("channel_id", "version"),)
    id: Mapped[str] = mapped_column(primary_key=True)
    channel_id: Mapped[str] = _channel_key()
    version: Mapped[int]
    method: Mapped[str]
    config: Mapped[dict[str, Any]]
    weights: Mapped[bytes] = mapped_column(deferred=True)
    sha256: Mapped[str]
    backbone_fingerprint: Mapped[str]
    metrics: Mapped[dict[str, Any]]
    source: Mapped[str]
    job_id: Mapped[str | None] = mapped_column(ForeignKey("training_jobs.id", ondelete="SET NULL"))
    created_at: Mapped[datetime]
    created_by: Mapped[str]


class Release(Base):
    """What an alias can point at: an adapter's version, or 0, the bare backbone."""

    __tablename__ = "releases"
    __table_args__ = (UniqueConstraint("channel_id", "version"),)
    id: Mapped[str] = mapped_column(primary_key=True)
    channel_id: Mapped[str] = _channel_key()
    version: Mapped[int]
    adapter_id: Mapped[str | None] = mapped_column(ForeignKey("adapters.id", ondelete="CASCADE"))
    backbone_fingerprint: Mapped[str]
    created_at: Mapped[datetime]


class Alias(Base):
    """A name that moves between releases, such as `champion`."""

    __tablename__ = "aliases"
    channel_id: Mapped[str] = _channel_key(primary_key=True)
    alias: Mapped[str] = mapped_column(primary_key=True)
    release_id: Mapped[str] = mapped_column(ForeignKey("releases.id", ondelete="CASCADE"))


class AliasHistory(Base):
    """Who moved an alias, when and why."""

    __tablename__ = "alias_history"
    id: Mapped[int] = mapped_column(_Serial, primary_key=True, autoincrement=True)
    channel_id: Mapped[str] = mapped_column(ForeignKey("channels.id", ondelete="CASCADE"), index=True)
    alias: Mapped[str]
    action: Mapped[str]
    from_version: Mapped[int | None]
    to_version: Mapped[int]
    actor: Mapped[str]
    reason: Mapped[str]
    at: Mapped[datetime]


class ItemVectors(Base):
    """A catalogue encoded by one adapter (`""`: zero-shot) on one backbone, kept for a fast start."""

    __tablename__ = "item_vectors"
    channel_id: Mapped[str] = _channel_key(primary_key=True)
    adapter_sha256: Mapped[str] = mapped_column(primary_key=True)
    backbone_fingerprint: Mapped[str] = mapped_column(primary_key=True)
    data: Mapped[bytes] = mapped_column(deferred=True)
    created_at: Mapped[datetime]
