"""Who comes in: the key of a request, wrong keys counted, the tenant's requests counted."""

from anyio import from_thread
from fastapi import Request
from sqlalchemy.orm import Session
from starlette.concurrency import run_in_threadpool

from app.api.guesses import Guesses
from app.core.errors import Unauthorized
from app.store.access import Access, RememberedAccess
from app.store.rates import Rates
from app.store.tenants import Principal, Role, authenticate


def secret_of(request: Request) -> str:
    """The key that came with a request; raises `Unauthorized`."""
    scheme, _, secret = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not secret:
        raise no_key()
    return secret


def no_key() -> Unauthorized:
    """The error for a request without a key."""
    return Unauthorized("There is no API key. Send it as 'Authorization: Bearer tr_...'.")


def authenticated(request: Request, s: Session, secret: str) -> Principal:
    """Whose key it is; call it in a thread of the pool. Raises `Unauthorized` and `OverRate`."""
    guesses: Guesses = request.app.state.guesses
    with guesses.watched(secret, _address(request)):
        principal = authenticate(s, secret)
    rates: Rates = request.app.state.rates
    # The audit asks before the route does: a request counts once.
    if rates.limits(principal.tenant_id) and not getattr(request.state, "is_counted", False):
        request.state.is_counted = True
        from_thread.run(rates.spend, principal.tenant_id)
    return principal


async def remembered(request: Request, tenant: str | None, channel: str, needs: Role = Role.READER) -> Access:
    """Who asks at which channel, from memory if it can be: for the hot path.

    Raises `Unauthorized`, `OverRate`, `Forbidden`, `Invalid` and `NotFound`.
    """
    secret, state = secret_of(request), request.app.state
    memory: RememberedAccess = state.access
    access = memory.get(secret, tenant, channel, needs)
    if access is None:
        access = await run_in_threadpool(_ask, request, (secret, tenant, channel, needs))
    await state.rates.spend(access.principal.tenant_id)
    return access


def _ask(request: Request, question: tuple[str, str | None, str, Role]) -> Access:
    memory: RememberedAccess = request.app.state.access
    guesses: Guesses = request.app.state.guesses
    with guesses.watched(question[0], _address(request)):
        return memory.ask(*question)


def _address(request: Request) -> str:
    # Behind a proxy uvicorn has put the client's own here, if it trusts the proxy (FORWARDED_ALLOW_IPS).
    return request.client.host if request.client else ""
