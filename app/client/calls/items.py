"""Items and their images."""

from collections.abc import Mapping, Sequence
from typing import Any

from app.api.schemas.items import (
    ImageOut,
    ItemContent,
    ItemIds,
    ItemOut,
    ItemPage,
    ItemPatch,
    ItemsDeleted,
    ItemsStored,
    NewItem,
    NewItems,
)
from app.client.call import CHANNELS, Call, at, nothing, one
from app.client.upload import Source, upload_of


def items(
    channel: str, search: str = "", *, item_ids: Sequence[str] = (), after: str = "", limit: int = 50
) -> Call[ItemPage]:
    """Items by id: all, those whose id or text holds the search, or just some, in their order.

    `after` an answer's `next`: the next page.
    """
    query = {"search": search, "item_id": [*item_ids], "after": after, "limit": limit}
    return Call("GET", _path(channel), one(ItemPage), query=query)


def item(channel: str, item_id: str) -> Call[ItemOut]:
    """An item as it is stored."""
    return Call("GET", _path(channel, item_id), one(ItemOut))


def put_item(
    channel: str, item_id: str, text: str, attributes: Mapping[str, Any] | None = None
) -> Call[ItemOut]:
    """Store an item whole; the same again changes nothing."""
    body = ItemContent(text=text, attributes={**(attributes or {})})
    return Call("PUT", _path(channel, item_id), one(ItemOut), body)


def patch_item(
    channel: str, item_id: str, text: str | None = None, attributes: Mapping[str, Any] | None = None
) -> Call[ItemOut]:
    """Change an item's text, or some of its attributes: None takes one away, one left out stays."""
    body = ItemPatch(attributes={**(attributes or {})})
    if text is not None:
        body = ItemPatch(text=text, attributes=body.attributes)
    return Call("PATCH", _path(channel, item_id), one(ItemOut), body)


def delete_item(channel: str, item_id: str) -> Call[None]:
    """Delete an item with its image; its interactions stay."""
    return Call("DELETE", _path(channel, item_id), nothing)


def put_items(channel: str, items: Sequence[Mapping[str, Any] | NewItem]) -> Call[ItemsStored]:
    """Store at most 1,000 items (`item_id`, `text`, `attributes`): all of them or none."""
    body = NewItems(items=[NewItem.model_validate(each) for each in items])
    return Call("POST", _path(channel), one(ItemsStored), body, same_twice=True)


def delete_items(channel: str, item_ids: Sequence[str]) -> Call[ItemsDeleted]:
    """Delete at most 1,000 items, those of them that there are."""
    body = ItemIds(item_ids=[*item_ids])
    return Call("POST", _path(channel, "delete"), one(ItemsDeleted), body, same_twice=True)


def image(channel: str, item_id: str) -> Call[bytes]:
    """An item's image, as it was sent."""
    return Call("GET", _path(channel, item_id, "image"), bytes)


def put_image(channel: str, item_id: str, source: Source) -> Call[ImageOut]:
    """Set an item's image: a JPEG, PNG or WebP."""
    return Call("PUT", _path(channel, item_id, "image"), one(ImageOut), upload_of(source))


def delete_image(channel: str, item_id: str) -> Call[None]:
    """Delete an item's image; the item stays."""
    return Call("DELETE", _path(channel, item_id, "image"), nothing)


def _path(channel: str, *parts: str) -> str:
    return at(CHANNELS, channel, "items", *parts)
