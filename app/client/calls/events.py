"""Events, and users: who they are, what they met, what is held of them."""

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import uuid4

from app.api.schemas.events import EventsStored, NewEvents
from app.api.schemas.users import UserDeleted, UserHistoryOut, UserOut, UsersOut
from app.client.call import CHANNELS, Call, at, one

_USERS = "/v1/users"


def send_events(channel: str, events: Sequence[Mapping[str, Any]]) -> Call[EventsStored]:
    """Store at most 1,000 events: `user_id`, `item_id`, and if known `timestamp`, `recommendation_id`.

    One without an `event_id` gets one, so that an event that is sent again is stored once.
    """
    named = [{**each, "event_id": each.get("event_id") or uuid4().hex} for each in events]
    path = at(CHANNELS, channel, "events")
    return Call("POST", path, one(EventsStored), NewEvents(events=named), same_twice=True)


def users(
    channel: str, search: str = "", *, after: str = "", limit: int = 20, random: bool = False
) -> Call[UsersOut]:
    """Users with interactions by id: all, those whose id begins so, or one drawn by chance."""
    query = {"search": search, "after": after, "limit": limit, "random": random}
    return Call("GET", at(CHANNELS, channel, "users"), one(UsersOut), query=query)


def user_history(channel: str, user_id: str, limit: int = 50) -> Call[UserHistoryOut]:
    """The newest items that a user met in the channel."""
    path = at(CHANNELS, channel, "users", user_id, "history")
    return Call("GET", path, one(UserHistoryOut), query={"limit": limit})


def user(user_id: str, after: int = 0, limit: int = 100) -> Call[UserOut]:
    """All that is held of a user, in all channels of the tenant and in caches."""
    return Call("GET", at(_USERS, user_id), one(UserOut), query={"after": after, "limit": limit})


def delete_user(user_id: str) -> Call[UserDeleted]:
    """Delete what is held of a user, in all channels of the tenant and in every cache."""
    return Call("DELETE", at(_USERS, user_id), one(UserDeleted))
