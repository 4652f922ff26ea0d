"""The images of a channel's items, encoded as they were sent; check them first (`app.core.images`)."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass

from sqlalchemy import delete, func, select
from sqlalchemy.orm import Session, undefer

from app.core.errors import Invalid, NotFound
from app.core.images import ImageInfo
from app.store import revisions
from app.store.catalog import touch_items
from app.store.chunks import MOST_IDS, chunked
from app.store.db import insert_into
from app.store.tables import Channel, ItemImage

_BATCH_BYTES = 8 * 1024**2  # of images that are written at once


@dataclass(frozen=True, slots=True)
class ImageRow:
    """The image of an item: what it is, and its bytes."""

    item_id: str
    info: ImageInfo
    data: bytes


def require_images(s: Session, channel_id: str) -> None:
    """Raise `Invalid` unless the channel reads images."""
    if s.scalar(select(Channel.modality).where(Channel.id == channel_id)) != "image":
        raise Invalid(
            "This channel reads texts and takes no images. Create a channel with the modality 'image'."
        )


def upsert_images(s: Session, channel_id: str, rows: Iterable[ImageRow]) -> tuple[int, int, int]:
    """Insert new images and replace changed ones; returns how many were (inserted, updated, unchanged).

    Every item must come once; one that is not in the catalogue raises `NotFound`. Any change raises the
    channel's `items_revision`, once. However many images come, few are in memory at a time.
    """
    revision = revisions.next_items(s, channel_id)
    inserted = updated = unchanged = 0
    for batch in _batches(rows):
        stored = image_refs(s, channel_id, [row.item_id for row in batch])
        changed = [row for row in batch if stored.get(row.item_id) != row.info.sha256]
        touch_items(s, channel_id, [row.item_id for row in changed], revision)
        _write(s, channel_id, changed)
        new = sum(row.item_id not in stored for row in changed)
        inserted, updated = inserted + new, updated + len(changed) - new
        unchanged += len(batch) - len(changed)
    if inserted or updated:
        revisions.raise_items(s, channel_id)
    return inserted, updated, unchanged


def _batches(rows: Iterable[ImageRow]) -> Iterator[list[ImageRow]]:
    batch: list[ImageRow] = []
    size = 0
    for row in rows:
        batch.append(row)
        size += len(row.data)
        if size >= _BATCH_BYTES:
            yield batch
            batch, size = [], 0
    yield batch


def _write(s: Session, channel_id: str, rows: Sequence[ImageRow]) -> None:
    if not rows:
        return
    insert = insert_into(s, ItemImage)
    replaced = {name: insert.excluded[name] for name in ("sha256", "format", "width", "height", "data")}
    s.execute(
        insert.on_conflict_do_update(index_elements=["channel_id", "item_id"], set_=replaced),
        [
            {"channel_id": channel_id, "item_id": row.item_id, "data": row.data, **asdict(row.info)}
            for row in rows
        ],
    )


def put_image(s: Session, channel_id: str, row: ImageRow) -> tuple[bool, bool]:
    """Store one image; returns whether it is (new, changed). The same image again changes nothing.

    Raises `Invalid` for a channel that reads texts and `NotFound` for an item that is not in the catalogue.
    """
    require_images(s, channel_id)
    inserted, updated, _ = upsert_images(s, channel_id, [row])
    return bool(inserted), bool(inserted or updated)


def delete_image(s: Session, channel_id: str, item_id: str) -> None:
    """Delete an item's image and raise the channel's `items_revision`; raises `NotFound` if there is none."""
    revision = revisions.next_items(s, channel_id)
    statement = delete(ItemImage).where(ItemImage.channel_id == channel_id, ItemImage.item_id == item_id)
    if s.scalar(statement.returning(ItemImage.item_id)) is None:
        raise _no_image(item_id)
    touch_items(s, channel_id, [item_id], revision)
    revisions.raise_items(s, channel_id)


def get_image(s: Session, channel_id: str, item_id: str, with_data: bool = False) -> ItemImage:
    """Return an item's image; its bytes can be read only if asked for. Raises `NotFound`."""
    query = select(ItemImage).where(ItemImage.channel_id == channel_id, ItemImage.item_id == item_id)
    if with_data:
        query = query.options(undefer(ItemImage.data)).execution_options(populate_existing=True)
    image = s.scalar(query)
    if image is None:
        raise _no_image(item_id)
    return image


def image_refs(s: Session, channel_id: str, ids: Iterable[str] | None = None) -> dict[str, str]:
    """Return the sha256 of the images that there are by item id, of the whole channel or of these items."""
    query = select(ItemImage.item_id, ItemImage.sha256).where(ItemImage.channel_id == channel_id)
    if ids is None:
        return dict(s.execute(query).all())
    refs: dict[str, str] = {}
    for chunk in chunked(ids, MOST_IDS):
        refs |= dict(s.execute(query.where(ItemImage.item_id.in_(chunk))).all())
    return refs


def load_images(s: Session, channel_id: str, ids: Iterable[str]) -> dict[str, bytes]:
    """Return the bytes of these items' images that there are, by item id; ask for few at a time."""
    query = select(ItemImage.item_id, ItemImage.data).where(ItemImage.channel_id == channel_id)
    images: dict[str, bytes] = {}
    for chunk in chunked(ids, MOST_IDS):
        images |= dict(s.execute(query.where(ItemImage.item_id.in_(chunk))).all())
    return images


def count_images(s: Session, channel_id: str) -> int:
    """Return how many items of the channel have an image."""
    return (
        s.scalar(select(func.count()).select_from(ItemImage).where(ItemImage.channel_id == channel_id)) or 0
    )


def _no_image(item_id: str) -> NotFound:
    return NotFound(f"There is no image of an item {item_id[:80]!r}. Check the id, or send an image first.")
