"""Users of a channel: find one, see what it met. Personal data, so for operators alone."""

from typing import Annotated

from fastapi import APIRouter, Path, Query

from app.api.deps import DatabaseDep, Operator
from app.api.schemas.base import Text
from app.api.schemas.users import MetItemOut, UserHistoryOut, UsersOut
from app.store import user_search

router = APIRouter(prefix="/v1/channels/{channel}/users", tags=["users"])


@router.get("")
def list_users(
    access: Operator,
    db: DatabaseDep,
    search: Annotated[Text, Query(description="How a user's id begins.")] = "",
    after: Annotated[Text, Query(description="The last id of the page before.")] = "",
    limit: Annotated[int, Query(ge=1, le=100)] = 20,
    random: Annotated[bool, Query(description="One user drawn by chance, in place of a search.")] = False,
) -> UsersOut:
    """List users by id, all or those that a search finds; users are those with interactions."""
    with db.read() as s:
        if random:
            drawn = user_search.random_user(s, access.channel_id)
            return UsersOut(users=[] if drawn is None else [drawn], next=None)
        found = user_search.find_users(s, access.channel_id, search, after, limit)
    return UsersOut(users=found, next=found[-1] if len(found) == limit else None)


@router.get("/{user_id:path}/history")
def get_history(
    user_id: Annotated[str, Path(min_length=1, max_length=128)],
    access: Operator,
    db: DatabaseDep,
    limit: Annotated[int, Query(ge=1, le=500)] = 50,
) -> UserHistoryOut:
    """Show the newest items that a user met in the channel; of an unknown user none."""
    with db.read() as s:
        found = user_search.met_items(s, access.channel_id, user_id, limit)
    return UserHistoryOut(user_id=user_id, items=[MetItemOut.model_validate(each) for each in found])
