"""Encoded catalogues, kept so that a process need not encode them again when it starts."""

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.core.clock import now
from app.store.db import insert_into
from app.store.tables import ItemVectors


def save_vectors(
    s: Session, channel_id: str, adapter_sha256: str, backbone_fingerprint: str, data: bytes
) -> None:
    """Store or replace the vectors of one adapter (`""`: zero-shot) on one backbone."""
    row = {
        "channel_id": channel_id,
        "adapter_sha256": adapter_sha256,
        "backbone_fingerprint": backbone_fingerprint,
        "data": data,
        "created_at": now(),
    }
    insert = insert_into(s, ItemVectors).values(row)
    s.execute(
        insert.on_conflict_do_update(
            index_elements=["channel_id", "adapter_sha256", "backbone_fingerprint"],
            set_={"data": insert.excluded.data, "created_at": insert.excluded.created_at},
        )
    )


def load_vectors(s: Session, channel_id: str, adapter_sha256: str, backbone_fingerprint: str) -> bytes | None:
    """Return the stored vectors, or None."""
    return s.scalar(
        select(ItemVectors.data).where(
            ItemVectors.channel_id == channel_id,
            ItemVectors.adapter_sha256 == adapter_sha256,
            ItemVectors.backbone_fingerprint == backbone_fingerprint,
        )
    )
