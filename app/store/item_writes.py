"""Items written one at a time or a few at once, by the rules that imports have."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy.orm import Session

from app.core.errors import Invalid, NotFound
from app.store import revisions
from app.store.catalog import ItemRow, delete_items, get_items, upsert_items
from app.store.rows import BadRow, make_item

_MAX_LISTED = 50  # bad items; all are counted
_COLUMNS = ("item_id", "text")  # of imports; what is in them is never an attribute


def put_item(s: Session, channel_id: str, item: ItemRow) -> tuple[ItemRow, bool, bool]:
    """Store an item; returns it as stored, and whether it is (new, changed). Raises `Invalid`."""
    checked = _checked(item)
    inserted, updated, _ = upsert_items(s, channel_id, [checked])
    return checked, bool(inserted), bool(inserted or updated)


def patch_item(
    s: Session, channel_id: str, item_id: str, text: str | None, attributes: dict[str, Any]
) -> tuple[ItemRow, bool]:
    """Replace an item's text, unless it is None, and the attributes that are named; None takes one away.

    Returns the item as stored, and whether it has changed. Raises `NotFound`, and `Invalid` if the item would
    break a rule.
    """
    # The turn comes before the look: of two patches at once the second sees what the first did.
    revisions.next_items(s, channel_id)
    stored = get_items(s, channel_id, [item_id]).get(item_id)
    if stored is None:
        raise no_item(item_id)
    text = stored.text if text is None else text
    item = _checked(ItemRow(item_id, text, stored.attributes | attributes))
    _, updated, _ = upsert_items(s, channel_id, [item])
    return item, bool(updated)


def put_items(s: Session, channel_id: str, items: Sequence[ItemRow]) -> tuple[int, int, int]:
    """Store all of the items or none; returns how many were (inserted, updated, unchanged).

    Raises `Invalid`, whose `errors` list the bad ones by their number from 0.
    """
    checked: dict[str, ItemRow] = {}
    errors = []
    for number, row in enumerate(items):
        try:
            item = _made(row)
            if checked.setdefault(item.item_id, item) != item:
                raise BadRow("an item before it has the same id and other content")
        except BadRow as error:
            errors.append({"field": f"body.items.{number}", "message": str(error)})
    if errors:
        first = f"{errors[0]['field']}: {errors[0]['message']}"
        raise Invalid(
            f"{len(errors)} of {len(items)} items are bad, so nothing was stored. {first}. Correct them.",
            errors=errors[:_MAX_LISTED],
        )
    inserted, updated, _ = upsert_items(s, channel_id, checked.values())
    return inserted, updated, len(items) - inserted - updated


def delete_item(s: Session, channel_id: str, item_id: str) -> None:
    """Delete an item with its image; raises `NotFound`."""
    if not delete_items(s, channel_id, [item_id]):
        raise no_item(item_id)


def no_item(item_id: str) -> NotFound:
    """The error for an item that is not there."""
    return NotFound(f"There is no item {item_id[:80]!r} in the channel. Check the id, or import it first.")


def _made(item: ItemRow) -> ItemRow:
    for name in _COLUMNS:
        if name in item.attributes:
            raise BadRow(f"an attribute cannot be called {name!r}")
    return make_item(item.item_id, item.text, item.attributes)


def _checked(item: ItemRow) -> ItemRow:
    try:
        return _made(item)
    except BadRow as error:
        raise Invalid(f"The item is refused: {error}. Correct it.") from error
