"""What is held of one user, over all channels of a tenant: show it, delete it."""

from collections.abc import Sequence
from typing import Annotated

from fastapi import APIRouter, Path, Query
from starlette.concurrency import run_in_threadpool

from app.api.audited import Audited
from app.api.deps import DatabaseDep, HistoriesDep, OperatorScope, WakeDep
from app.api.schemas.users import HeldNowOut, HeldOut, MetOut, UserDeleted, UserOut
from app.core.errors import Unavailable
from app.store import users
from app.store.channels import list_channels
from app.store.db import Database
from app.store.tables import Channel
from app.store.users import Held

router = APIRouter(prefix="/v1/users", tags=["users"], route_class=Audited)
UserIdPath = Annotated[str, Path(min_length=1, max_length=128)]
_NOTHING = Held(0, 0)


@router.get("/{user_id:path}")
async def get_user(
    user_id: UserIdPath,
    scope: OperatorScope,
    db: DatabaseDep,
    histories: HistoriesDep,
    after: Annotated[int, Query(ge=0, lt=2**63)] = 0,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
) -> UserOut:
    """Show all that is held of a user, in the tenant's channels and in caches; of an unknown one nothing."""
    channels, held, met = await run_in_threadpool(_read, db, scope.tenant_id, user_id, after, limit)
    keys = [(channel.id, user_id) for channel in channels]
    far = await histories.are_far(keys)
    rows = [
        HeldNowOut(
            channel=channel.name,
            interactions=amount.interactions,
            import_reports=amount.reports,
            in_redis=None if far is None else far[n],
            in_process=histories.is_near(keys[n]),
        )
        for n, (channel, amount) in enumerate(zip(channels, held, strict=True))
        if amount != _NOTHING or (far is not None and far[n]) or histories.is_near(keys[n])
    ]
    return UserOut(
        user_id=user_id,
        channels=rows,
        interactions=[MetOut.model_validate(each) for each in met],
        next=met[-1].seq if len(met) == limit else None,
    )


@router.delete("/{user_id:path}")
async def delete_user(
    user_id: UserIdPath, scope: OperatorScope, db: DatabaseDep, histories: HistoriesDep, wake: WakeDep
) -> UserDeleted:
    """Delete a user's interactions in all channels of the tenant, and every copy of them in caches.

    503 where Redis does not answer: then the rows are gone, and the same request again drops the copies.
    """
    channels, deleted = await run_in_threadpool(_delete, db, scope.tenant_id, user_id)
    if not await histories.forget([(channel.id, user_id) for channel in channels]):
        raise Unavailable(
            "The user's rows are deleted, but Redis does not answer: copies there, which nobody reads, go "
            "within a day. Send the request again to have them dropped."
        )
    await run_in_threadpool(wake.look)
    return UserDeleted(
        user_id=user_id,
        channels=[
            HeldOut(channel=channel.name, interactions=held.interactions, import_reports=held.reports)
            for channel, held in zip(channels, deleted, strict=True)
            if held != _NOTHING
        ],
    )


def _read(
    db: Database, tenant_id: str, user_id: str, after: int, limit: int
) -> tuple[Sequence[Channel], list[Held], list[users.Met]]:
    with db.read() as s:
        channels = list_channels(s, tenant_id)
        held = [users.held(s, channel, user_id) for channel in channels]
        return channels, held, users.interactions(s, channels, user_id, after, limit)


def _delete(db: Database, tenant_id: str, user_id: str) -> tuple[Sequence[Channel], list[Held]]:
    with db.session() as s:
        # By id: all who write several channels' rows do it in this order, and never wait for each other.
        channels = sorted(list_channels(s, tenant_id), key=lambda channel: channel.id)
        return channels, [users.delete_user(s, channel, user_id) for channel in channels]
