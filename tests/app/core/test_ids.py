"""Ids, secrets, names and the clock."""

import hashlib
from datetime import UTC, timedelta

import pytest

from app.core.clock import now
from app.core.ids import hash_secret, new_id, new_secret
from app.core.names import is_name


def test_ids_differ_and_sort_by_time(monkeypatch: pytest.MonkeyPatch) -> None:
    ids = []
    for seconds in range(50):
        monkeypatch.setattr("time.time_ns", lambda seconds=seconds: seconds * 10**9)
        ids.append(new_id("job"))
    assert ids == sorted(ids) and len(set(ids)) == 50
    assert ids[0].startswith("job_") and len(ids[0]) == 32


def test_secrets() -> None:
    secret = new_secret()
    assert secret.startswith("tr_") and len(secret) == 46 and secret != new_secret()
    assert hash_secret(secret) == hashlib.sha256(secret.encode()).hexdigest()


def test_names() -> None:
    assert all(is_name(name) for name in ("a", "0", "a-b_c", "a" * 63))
    assert not any(is_name(name) for name in ("", "A", "_a", "a.b", "a/b", "a\n", "a" * 64))


def test_clock() -> None:
    assert now().tzinfo is UTC and now() - now() < timedelta(seconds=1)
