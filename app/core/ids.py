"""Ids of rows and secrets of keys."""

import hashlib
import secrets
import time


def new_id(prefix: str) -> str:
    """Return an id such as `job_019a8d...`: 12 hex digits of milliseconds, then 16 random ones.

    Ids of one prefix sort by the millisecond they were made in.
    """
    return f"{prefix}_{time.time_ns() // 1_000_000:012x}{secrets.token_hex(8)}"


def new_secret() -> str:
    """Return a new API key: `tr_` and 256 random bits, URL-safe."""
    return "tr_" + secrets.token_urlsafe(32)


def hash_secret(secret: str) -> str:
    """Return the SHA-256 of a key in hex, which is all that is stored of it.

    A slow, salted password hash defends short secrets that people choose. A key has 256 random
    bits: nobody can guess it, so a fast hash is right, and it can be looked up by an index.
    """
    return hashlib.sha256(secret.encode()).hexdigest()
