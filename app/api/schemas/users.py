"""What is held of a user."""

from typing import Any

from pydantic import Field

from app.api.schemas.base import Answer


class HeldOut(Answer):
    """How much of a user a channel has."""

    channel: str
    interactions: int
    import_reports: int = Field(description="Reports of imports that quote the user's id.")


class HeldNowOut(HeldOut):
    """How much of a user a channel has, and where copies of it are kept."""

    in_redis: bool | None = Field(description="Null: Redis does not answer.")
    in_process: bool = Field(description="In the process that answers.")


class MetOut(Answer):
    """An interaction of the user."""

    channel: str
    item_id: str
    timestamp: int = Field(description="Milliseconds since 1970, UTC.")
    event_id: str | None


class UserOut(Answer):
    """All that is held of a user; channels that hold nothing are left out."""

    user_id: str
    channels: list[HeldNowOut]
    interactions: list[MetOut] = Field(description="In the order of their arrival.")
    next: int | None = Field(
        description="Send it as `after` for more interactions; null: these were the last."
    )


class UserDeleted(Answer):
    """What was deleted of a user; channels that held nothing are left out."""

    user_id: str
    channels: list[HeldOut]


class UsersOut(Answer):
    """Ids of users; `next` is the `after` of the next page, null at the end."""

    users: list[str]
    next: str | None


class MetItemOut(Answer):
    """An item that the user met; without a text where the catalogue lacks it by now."""

    item_id: str
    timestamp: int = Field(description="Milliseconds since 1970, UTC.")
    text: str | None
    attributes: dict[str, Any] | None


class UserHistoryOut(Answer):
    """What a user met in a channel, the newest first."""

    user_id: str
    items: list[MetItemOut]
