"""Sessions of the web console: a token stands in for a key, for some hours, as long as the key is valid.

`app.store.tenants.authenticate` takes a token as it takes a key, so a session may do what its key may.
"""

import secrets
from datetime import timedelta

from sqlalchemy import delete
from sqlalchemy.orm import Session

from app.core.clock import now
from app.core.errors import Forbidden
from app.core.ids import hash_secret
from app.store.tables import ConsoleSession
from app.store.tenants import SESSION_PREFIX, authenticate

LASTS = timedelta(hours=12)


def open_session(s: Session, secret: str) -> str:
    """Begin a session of the key with that secret and return its token, of which only a hash is stored.

    Raises `Unauthorized` for a wrong key, and `Forbidden` for a token: no session prolongs itself.
    """
    if secret.startswith(SESSION_PREFIX):
        raise Forbidden("A session cannot begin another one. Sign in with your key.")
    principal = authenticate(s, secret)
    token = SESSION_PREFIX + secrets.token_urlsafe(32)
    s.add(ConsoleSession(hash=hash_secret(token), key_id=principal.key_id, expires_at=now() + LASTS))
    return token


def close_session(s: Session, token: str) -> None:
    """End a session; harmless when it has ended."""
    s.execute(delete(ConsoleSession).where(ConsoleSession.hash == hash_secret(token)))


def prune(s: Session) -> None:
    """Delete the sessions that have ended."""
    s.execute(delete(ConsoleSession).where(ConsoleSession.expires_at <= now()))
