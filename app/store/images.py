"""The images of a channel's items, encoded as they were sent; check them first (`app.core.images`)."""

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass

from sqlalchemy import delete, func, select
from sqlalchemy.orm import Session, undefer

from app.core.errors import Invalid, NotFound
from app.core.images import ImageInfo
from app.store.catalog import get_items
from app.store.channels import bump_generation
from app.store.chunks import chunked
from app.store.db import insert_into
from app.store.tables import Channel, ItemImage

_CHUNK = 500  # ids in one IN (...): below every database's limit of parameters


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


def upsert_images(s: Session, channel_id: str, rows: Sequence[ImageRow]) -> tuple[int, int, int]:
    """Insert new images and replace changed ones; returns how many were (inserted, updated, unchanged).

    Every item must be in the catalogue and come once. It writes all rows at once: give it few.
    """
    stored = image_refs(s, channel_id, [row.item_id for row in rows])
    changed = [row for row in rows if stored.get(row.item_id) != row.info.sha256]
    _write(s, channel_id, changed)
    new = sum(row.item_id not in stored for row in changed)
    return new, len(changed) - new, len(rows) - len(changed)


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
    """Store one image and raise the channel's generation; returns whether it is (new, changed).

    The same image again changes nothing. Raises `Invalid` for a channel that reads texts and `NotFound`
    for an item that is not in the catalogue.
    """
    require_images(s, channel_id)
    if row.item_id not in get_items(s, channel_id, [row.item_id]):
        raise NotFound(f"There is no item {row.item_id[:80]!r} in the channel. Import it first.")
    inserted, updated, _ = upsert_images(s, channel_id, [row])
    if inserted or updated:
        bump_generation(s, channel_id)
    return bool(inserted), bool(inserted or updated)


def delete_image(s: Session, channel_id: str, item_id: str) -> None:
    """Delete an item's image and raise the channel's generation; raises `NotFound` if there is none."""
    statement = delete(ItemImage).where(ItemImage.channel_id == channel_id, ItemImage.item_id == item_id)
    if s.scalar(statement.returning(ItemImage.item_id)) is None:
        raise _no_image(item_id)
    bump_generation(s, channel_id)


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
    for chunk in chunked(ids, _CHUNK):
        refs |= dict(s.execute(query.where(ItemImage.item_id.in_(chunk))).all())
    return refs


def load_images(s: Session, channel_id: str, ids: Iterable[str]) -> dict[str, bytes]:
    """Return the bytes of these items' images that there are, by item id; ask for few at a time."""
    query = select(ItemImage.item_id, ItemImage.data).where(ItemImage.channel_id == channel_id)
    images: dict[str, bytes] = {}
    for chunk in chunked(ids, _CHUNK):
        images |= dict(s.execute(query.where(ItemImage.item_id.in_(chunk))).all())
    return images


def count_images(s: Session, channel_id: str) -> int:
    """Return how many items of the channel have an image."""
    return (
        s.scalar(select(func.count()).select_from(ItemImage).where(ItemImage.channel_id == channel_id)) or 0
    )


def _no_image(item_id: str) -> NotFound:
    return NotFound(f"There is no image of an item {item_id[:80]!r}. Check the id, or send an image first.")
