"""Limits on what one request may ask for, as the settings have them."""

from typing import Annotated

from fastapi import Query

from app.core.config import Settings
from app.core.errors import Invalid

Confirmation = Annotated[str, Query(description="The name of what is deleted, once more.")]


def confirmed(confirmation: str, name: str) -> None:
    """Raise `Invalid` unless a deletion repeats the name."""
    if confirmation != name:
        raise Invalid(f"This deletes {name!r} for good. Repeat the name: ?confirm={name}", field="confirm")


def check_count(settings: Settings, count: int) -> None:
    """Raise `Invalid` above `max_count`."""
    if count > settings.max_count:
        raise Invalid(f"count is at most {settings.max_count}; ask for fewer.", field="count")


def check_history(settings: Settings, history: list[str] | None) -> None:
    """Raise `Invalid` above `max_history` items."""
    if history is not None and len(history) > settings.max_history:
        raise Invalid(
            f"A history has at most {settings.max_history} items; send the newest.", field="history"
        )
