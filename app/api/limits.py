"""Limits on what one request may ask for, as the settings have them."""

from app.core.config import Settings
from app.core.errors import Invalid


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
