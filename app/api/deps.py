"""What handlers ask for: settings, database, engine, wake-ups, limits, and who asks for which channel."""

from collections.abc import Callable
from typing import Annotated, cast

from fastapi import Depends, Query, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from app.api.door import authenticated, no_key, remembered
from app.core.config import Settings
from app.core.drain import Drain
from app.serving.engine import Engine
from app.serving.events import EventWriter
from app.serving.shadow import Shadow
from app.store.access import Access, RememberedAccess, access_for
from app.store.db import Database
from app.store.histories import Histories
from app.store.quotas import TenantLimits
from app.store.scope import Scope, require_platform, require_role, scope_for
from app.store.tenants import Principal, Role
from app.store.wake import Wake

_bearer = HTTPBearer(auto_error=False, scheme_name="API key", description="`Authorization: Bearer tr_...`")


# These are async so that they cost no trip to the thread pool.
async def _settings(request: Request) -> Settings:
    return cast(Settings, request.app.state.settings)


async def _db(request: Request) -> Database:
    return cast(Database, request.app.state.db)


async def _engine(request: Request) -> Engine:
    return cast(Engine, request.app.state.engine)


async def _wake(request: Request) -> Wake:
    return cast(Wake, request.app.state.wake)


async def _shadow(request: Request) -> Shadow:
    return cast(Shadow, request.app.state.shadow)


async def _remembered(request: Request) -> RememberedAccess:
    return cast(RememberedAccess, request.app.state.access)


async def _histories(request: Request) -> Histories:
    return cast(Histories, request.app.state.histories)


async def _events(request: Request) -> EventWriter:
    return cast(EventWriter, request.app.state.events)


async def _drain(request: Request) -> Drain:
    return cast(Drain, request.app.state.drain)


async def _limits(request: Request) -> TenantLimits:
    return cast(TenantLimits, request.app.state.limits)


async def _secret(
    credentials: Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)],
) -> str:
    if credentials is None:
        raise no_key()
    return credentials.credentials


SettingsDep = Annotated[Settings, Depends(_settings)]
DatabaseDep = Annotated[Database, Depends(_db)]
EngineDep = Annotated[Engine, Depends(_engine)]
WakeDep = Annotated[Wake, Depends(_wake)]
ShadowDep = Annotated[Shadow, Depends(_shadow)]
RememberedDep = Annotated[RememberedAccess, Depends(_remembered)]
DrainDep = Annotated[Drain, Depends(_drain)]
LimitsDep = Annotated[TenantLimits, Depends(_limits)]
HistoriesDep = Annotated[Histories, Depends(_histories)]
EventsDep = Annotated[EventWriter, Depends(_events)]
Secret = Annotated[str, Depends(_secret)]
TenantQuery = Annotated[
    str | None, Query(description="Which tenant; only a platform operator's key needs to say.")
]


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
Platform = Annotated[Principal, Depends(_platform)]
AnyOperator = Annotated[Principal, Depends(_any_operator)]
TenantOperator = Annotated[Scope, Depends(_tenant_operator)]
