"""What handlers ask for: settings, database, engine, wake-ups, limits, and who asks for which channel."""

from collections.abc import Callable
from typing import Annotated, Any

from fastapi import Depends, Query, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from app.api.door import authenticated, no_key, remembered
from app.core.config import Settings
from app.core.drain import Drain
from app.serving.engine import Engine
from app.serving.events import EventWriter
from app.serving.overview import Overview
from app.serving.shadow import Shadow
from app.store.access import Access, RememberedAccess, access_for
from app.store.db import Database
from app.store.histories import Histories
from app.store.quotas import TenantLimits
from app.store.scope import Scope, require_platform, require_role, scope_for
from app.store.statistics import Statistics
from app.store.tenants import Principal, Role
from app.store.wake import Wake

_bearer = HTTPBearer(auto_error=False, scheme_name="API key", description="`Authorization: Bearer tr_...`")


def _state(name: str) -> Any:
    # Async, so that it costs no trip to the thread pool.
    async def state(request: Request) -> Any:
        return getattr(request.app.state, name)

    return Depends(state)


async def _secret(
    credentials: Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)],
) -> str:
    if credentials is None:
        raise no_key()
    return credentials.credentials


SettingsDep = Annotated[Settings, _state("settings")]
DatabaseDep = Annotated[Database, _state("db")]
EngineDep = Annotated[Engine, _state("engine")]
WakeDep = Annotated[Wake, _state("wake")]
ShadowDep = Annotated[Shadow, _state("shadow")]
RememberedDep = Annotated[RememberedAccess, _state("access")]
DrainDep = Annotated[Drain, _state("drain")]
LimitsDep = Annotated[TenantLimits, _state("limits")]
HistoriesDep = Annotated[Histories, _state("histories")]
OverviewDep = Annotated[Overview, _state("overview")]
StatisticsDep = Annotated[Statistics, _state("statistics")]
EventsDep = Annotated[EventWriter, _state("events")]
Secret = Annotated[str, Depends(_secret)]
TenantQuery = Annotated[
    str | None, Query(description="Which tenant; only a platform operator's key needs to say.")
]


def _keys_changed(remembered: RememberedDep, wake: WakeDep) -> Callable[[], None]:
    def changed() -> None:
        remembered.forget()
        wake.look()

    return changed


KeysChanged = Annotated[Callable[[], None], Depends(_keys_changed)]
"""Call it when keys no longer let in whom they did: this process forgets who was let in, others look."""


def _scope(needs: Role) -> Callable[..., Scope]:
    def scope(request: Request, db: DatabaseDep, secret: Secret, tenant: TenantQuery = None) -> Scope:
        with db.read() as s:
            return scope_for(s, authenticated(request, s, secret), tenant, needs)

    return scope


def _access(needs: Role) -> Callable[..., Access]:
    # One session and one trip to the thread pool for all three questions.
    def access(
        request: Request, db: DatabaseDep, secret: Secret, channel: str, tenant: TenantQuery = None
    ) -> Access:
        with db.read() as s:
            return access_for(s, authenticated(request, s, secret), tenant, channel, needs)

    return access


async def _remembered_writer(request: Request, channel: str, tenant: TenantQuery = None) -> Access:
    return await remembered(request, tenant, channel, Role.WRITER)


def _anybody(request: Request, db: DatabaseDep, secret: Secret) -> Principal:
    with db.read() as s:
        return authenticated(request, s, secret)


def _platform(request: Request, db: DatabaseDep, secret: Secret) -> Principal:
    with db.read() as s:
        principal = authenticated(request, s, secret)
    require_platform(principal)
    return principal


def _any_operator(request: Request, db: DatabaseDep, secret: Secret) -> Principal:
    with db.read() as s:
        principal = authenticated(request, s, secret)
    require_role(principal, Role.OPERATOR)
    return principal


def _tenant_operator(request: Request, db: DatabaseDep, secret: Secret, tenant: str) -> Scope:
    with db.read() as s:
        return scope_for(s, authenticated(request, s, secret), tenant, Role.OPERATOR)


ReaderScope = Annotated[Scope, Depends(_scope(Role.READER))]
OperatorScope = Annotated[Scope, Depends(_scope(Role.OPERATOR))]
Reader = Annotated[Access, Depends(_access(Role.READER))]
Writer = Annotated[Access, Depends(_access(Role.WRITER))]
RememberedWriter = Annotated[Access, Depends(_remembered_writer)]
"""As `Writer`, without a look at the database for who was let in already."""
Operator = Annotated[Access, Depends(_access(Role.OPERATOR))]
Anybody = Annotated[Principal, Depends(_anybody)]
"""Whoever has a key."""
Platform = Annotated[Principal, Depends(_platform)]
AnyOperator = Annotated[Principal, Depends(_any_operator)]
TenantOperator = Annotated[Scope, Depends(_tenant_operator)]
