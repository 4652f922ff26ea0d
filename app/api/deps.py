"""What handlers ask for: settings, database, engine, wake-ups, and who asks for which channel."""

from collections.abc import Callable
from typing import Annotated, cast

from fastapi import Depends, Query, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from app.core.config import Settings
from app.core.errors import Unauthorized
from app.serving.engine import Engine
from app.store.access import Access, RememberedAccess, access_of
from app.store.db import Database
from app.store.scope import Scope, require_platform, scope_for
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


async def _remembered(request: Request) -> RememberedAccess:
    return cast(RememberedAccess, request.app.state.access)


async def _secret(
    credentials: Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)],
) -> str:
    if credentials is None:
        raise _no_key()
    return credentials.credentials


def secret_of(request: Request) -> str:
    """The key that came with a request, as `Secret` finds it; raises `Unauthorized`."""
    scheme, _, secret = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not secret:
        raise _no_key()
    return secret


def _no_key() -> Unauthorized:
    return Unauthorized("There is no API key. Send it as 'Authorization: Bearer tr_...'.")


SettingsDep = Annotated[Settings, Depends(_settings)]
DatabaseDep = Annotated[Database, Depends(_db)]
EngineDep = Annotated[Engine, Depends(_engine)]
WakeDep = Annotated[Wake, Depends(_wake)]
RememberedDep = Annotated[RememberedAccess, Depends(_remembered)]
Secret = Annotated[str, Depends(_secret)]
TenantQuery = Annotated[
    str | None, Query(description="Which tenant; only a platform operator's key needs to say.")
]


def _scope(needs: Role) -> Callable[..., Scope]:
    def scope(db: DatabaseDep, secret: Secret, tenant: TenantQuery = None) -> Scope:
        with db.read() as s:
            return scope_for(s, authenticate(s, secret), tenant, needs)

    return scope


def _access(needs: Role) -> Callable[..., Access]:
    # One session and one trip to the thread pool for all three questions.
    def access(db: DatabaseDep, secret: Secret, channel: str, tenant: TenantQuery = None) -> Access:
        with db.read() as s:
            return access_of(s, secret, tenant, channel, needs)

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
