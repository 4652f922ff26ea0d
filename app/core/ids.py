"""Ids of rows and secrets of keys."""

import hashlib
import os
import secrets
import socket
import time


def new_id(prefix: str) -> str:
    """Return an id such as `job_019a8d...`: 12 hex digits of milliseconds, then 16 random ones.

    Ids of one prefix sort by the millisecond they were made in.
    """
    return f"{prefix}_{time.time_ns() // 1_000_000:012x}{secrets.token_hex(8)}"


def process_name() -> str:
    """Return a name for this process: machine, process id, and what tells it from one that had both before.

    A restarted container may have the same name and process id again.
    """
    return f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(3)}"


def new_secret() -> str:
    """Return a new API key: `tr_` and 256 random bits, URL-safe."""
    return "tr_" + secrets.token_urlsafe(32)


def hash_secret(secret: str) -> str:
    """Return the SHA-256 of a key in hex, which is all that is stored of it.

    A slow, salted password hash defends short secrets that people choose. A key has 256 random
    bits: nobody can guess it, so a fast hash is right, and it can be looked up by an index.
    """
    return hashlib.sha256(secret.encode()).hexdigest()
