"""What handlers ask for: settings, database, engine, wake-ups, and who asks for which channel."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, cast

from fastapi import Depends, Query, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from app.core.config import Settings
from app.core.errors import Unauthorized
from app.serving.engine import Engine
from app.store.db import Database
from app.store.scope import Scope, require_platform, scope_for
from app.store.tables import Channel
from app.store.tenants import Principal, Role, authenticate
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


async def _secret(
    credentials: Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)],
) -> str:
    if credentials is None:
        raise Unauthorized("There is no API key. Send it as 'Authorization: Bearer tr_...'.")
    return credentials.credentials


SettingsDep = Annotated[Settings, Depends(_settings)]
DatabaseDep = Annotated[Database, Depends(_db)]
EngineDep = Annotated[Engine, Depends(_engine)]
WakeDep = Annotated[Wake, Depends(_wake)]
Secret = Annotated[str, Depends(_secret)]
TenantQuery = Annotated[
    str | None, Query(description="Which tenant; only a platform operator's key needs to say.")
]


@dataclass(frozen=True, slots=True)
class Access:
    """A principal at one of its channels."""

    principal: Principal
    channel: Channel

    @property
    def channel_id(self) -> str:
        """The channel's id."""
        return self.channel.id

    @property
    def actor(self) -> str:
        """Who is written down as having done it."""
        return self.principal.key_id


def _scope(needs: Role) -> Callable[..., Scope]:
    def scope(db: DatabaseDep, secret: Secret, tenant: TenantQuery = None) -> Scope:
        with db.read() as s:
            return scope_for(s, authenticate(s, secret), tenant, needs)

    return scope


def _access(needs: Role) -> Callable[..., Access]:
    # One session and one trip to the thread pool for all three questions.
    def access(db: DatabaseDep, secret: Secret, channel: str, tenant: TenantQuery = None) -> Access:
        with db.read() as s:
            scope = scope_for(s, authenticate(s, secret), tenant, needs)
            return Access(scope.principal, scope.channel(s, channel))

    return access


def _platform(db: DatabaseDep, secret: Secret) -> Principal:
    with db.read() as s:
        principal = authenticate(s, secret)
    require_platform(principal)
    return principal


def _tenant_operator(db: DatabaseDep, secret: Secret, tenant: str) -> Scope:
    with db.read() as s:
        return scope_for(s, authenticate(s, secret), tenant, Role.OPERATOR)


ReaderScope = Annotated[Scope, Depends(_scope(Role.READER))]
OperatorScope = Annotated[Scope, Depends(_scope(Role.OPERATOR))]
Reader = Annotated[Access, Depends(_access(Role.READER))]
Writer = Annotated[Access, Depends(_access(Role.WRITER))]
Operator = Annotated[Access, Depends(_access(Role.OPERATOR))]
Platform = Annotated[Principal, Depends(_platform)]
TenantOperator = Annotated[Scope, Depends(_tenant_operator)]
