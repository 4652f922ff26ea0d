"""Requests as ready-made bytes, and which channel each of them asks."""

import json
from collections.abc import Hashable, Sequence
from typing import Any, Literal

import numpy as np

from tests.benchmarks.load.connection import HOST, Request

Ask = Literal["history", "user_id"]
PER_CHANNEL = 16  # different requests to one channel
MIXED = 40_000  # length of a mix of channels, before it begins anew
EMPTY = Request(f"GET /health/empty HTTP/1.1\r\nHost: {HOST}\r\n\r\n".encode())


def render(method: str, path: str, key: str, body: Any = None, name: Hashable = None) -> Request:
    """A whole request with a JSON body, or none."""
    data = b"" if body is None else json.dumps(body).encode()
    head = (
        f"{method} {path} HTTP/1.1\r\nHost: {HOST}\r\nAuthorization: Bearer {key}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(data)}\r\n\r\n"
    )
    return Request(head.encode() + data, name)


def to_channel(channel: str, key: str, bodies: Sequence[dict[str, Any]]) -> list[Request]:
    """Recommendations of one channel; a request's name is the channel and the number of its body."""
    path = f"/v1/channels/{channel}/recommendations"
    return [render("POST", path, key, body, (channel, number)) for number, body in enumerate(bodies)]


def by_history(items: int, length: int, number: int = PER_CHANNEL, seed: int = 0) -> list[dict[str, Any]]:
    """Bodies with random histories of `length` different items of a catalogue."""
    rng = np.random.default_rng(seed)
    rows = [rng.choice(items, length, replace=False).tolist() for _ in range(number)]
    return [{"history": [item_id(row) for row in history], "count": 10} for history in rows]


def by_user(users: int, number: int = PER_CHANNEL) -> list[dict[str, Any]]:
    """Bodies that name a stored user."""
    return [{"user_id": user_id(n % users), "count": 10} for n in range(number)]


def item_id(number: int) -> str:
    """Of an item of a populated channel."""
    return f"i{number:06d}"


def user_id(number: int) -> str:
    """Of a user of a populated channel."""
    return f"u{number:04d}"


def mixed(per_channel: Sequence[Sequence[Request]], zipf: float = 0.0, seed: int = 0) -> list[Request]:
    """A mix over channels: channel number r (from 1) with a weight of r^-zipf; 0 is uniform."""
    rng = np.random.default_rng(seed)
    weights = np.arange(1, len(per_channel) + 1) ** -zipf
    channels = rng.choice(len(per_channel), MIXED, p=weights / weights.sum()).tolist()
    return [per_channel[channel][n % len(per_channel[channel])] for n, channel in enumerate(channels)]
