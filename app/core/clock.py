"""The clock: aware UTC everywhere."""

from datetime import UTC, datetime


def milliseconds(at: datetime) -> int:
    """Return a moment in milliseconds since 1970."""
    return int(at.timestamp() * 1000)


def now() -> datetime:
    """Return the current time, timezone-aware, in UTC."""
    return datetime.now(UTC)
