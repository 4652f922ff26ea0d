"""Items and their images."""

from typing import Any, Literal

from pydantic import Field

from app.api.schemas.base import Answer, Attributes, Body, ItemId


class ItemOut(Answer):
    """An item of the catalogue."""

    item_id: str
    text: str
    attributes: dict[str, Any]


class ItemShown(ItemOut):
    """An item in a list."""

    has_image: bool


class ItemPage(Answer):
    """Items by id; `next` is the `after` of the next page, null at the end."""

    items: list[ItemShown]
    next: str | None


class ItemContent(Body):
    """What an item is made of; the rules are those of imports."""

    text: str = Field(
        examples=["a thing"], description="What the encoder reads; the title in a channel of images."
    )
    attributes: Attributes = Field(default_factory=dict)


class ItemPatch(Body):
    """What of an item to change: an attribute that is null is taken away, one that is left out stays."""

    text: str = Field("", examples=["another thing"], description="Left out, the text stays.")
    attributes: Attributes = Field(default_factory=dict)

    @property
    def new_text(self) -> str | None:
        """The text, None if it was left out."""
        return self.text if "text" in self.model_fields_set else None


class NewItem(ItemContent):
    """An item to store."""

    item_id: str = Field(examples=["item-1"])


class NewItems(Body):
    """Items to store, all or none."""

    items: list[NewItem] = Field(min_length=1, max_length=1000)


class ItemsStored(Answer):
    """What became of the items."""

    inserted: int
    updated: int
    unchanged: int


class ItemIds(Body):
    """Items to delete."""

    item_ids: list[ItemId] = Field(min_length=1, max_length=1000)


class ItemsDeleted(Answer):
    """How many items were deleted; unknown ids are left out of the count."""

    deleted: int


class ImageOut(Answer):
    """The image of an item."""

    item_id: str
    format: Literal["jpeg", "png", "webp"]
    width: int
    height: int
    sha256: str
