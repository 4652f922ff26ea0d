"""Adapters, the releases that are made of them, and rollouts."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Literal

from app.api.schemas.maps import MapOut
from app.api.schemas.releases import AdapterOut, MoveOut, Promotion, ReleaseOut, Rollback
from app.api.schemas.rollouts import NewChallenger, OnlineOut, RolloutOut
from app.client.call import ADMIN, Call, at, many, nothing, one
from app.client.upload import OnProgress, Source, upload_of
from app.core.rollout import Guard, Rule

_SECONDS = 600.0  # an adapter may be a copy of the whole model


def adapters(channel: str) -> Call[list[AdapterOut]]:
    """The channel's adapters, newest first, without their weights."""
    return Call("GET", _path(channel, "adapters"), many(AdapterOut))


def adapter(channel: str, version: int) -> Call[AdapterOut]:
    """An adapter: what it is made of and what it measured."""
    return Call("GET", _path(channel, "adapters", version), one(AdapterOut))


def upload_adapter(channel: str, source: Source, on_progress: OnProgress | None = None) -> Call[AdapterOut]:
    """Store an adapter, a safetensors file, as a new version; promote it to use it."""
    body = upload_of(source, None, on_progress)
    return Call("POST", _path(channel, "adapters"), one(AdapterOut), body, seconds=_SECONDS)


def download_adapter(channel: str, version: int) -> Call[bytes]:
    """An adapter's safetensors file, which can be uploaded again."""
    return Call("GET", _path(channel, "adapters", version, "weights"), bytes, seconds=_SECONDS)


def releases(channel: str) -> Call[list[ReleaseOut]]:
    """The versions that can be champion, newest first; 0 is the bare backbone."""
    return Call("GET", _path(channel, "releases"), many(ReleaseOut))


def release_map(channel: str, version: int, limit: int = 2000, by: str | None = None) -> Call[MapOut]:
    """The items of a version that answers, as points of a plane, in groups `by` an attribute."""
    path = _path(channel, "releases", version, "map")
    return Call("GET", path, one(MapOut), query={"limit": limit, "by": by})


def promote(
    channel: str,
    version: int,
    *,
    reason: str = "",
    expected_current: int | None = None,
    guard: Guard | None = None,
) -> Call[list[ReleaseOut]]:
    """Make a version the champion; refused unless `expected_current`, if given, is the champion now."""
    body = Promotion(version=version, reason=reason, expected_current=expected_current, guard=guard)
    return Call("POST", _path(channel, "releases", "promote"), many(ReleaseOut), body)


def rollback(
    channel: str, *, reason: str = "", expected_current: int | None = None
) -> Call[list[ReleaseOut]]:
    """Return to the champion before this one."""
    body = Rollback(reason=reason, expected_current=expected_current)
    return Call("POST", _path(channel, "releases", "rollback"), many(ReleaseOut), body)


def release_history(channel: str) -> Call[list[MoveOut]]:
    """Every move of champion and challenger, oldest first."""
    return Call("GET", _path(channel, "releases", "history"), many(MoveOut))


def set_challenger(
    channel: str,
    version: int,
    *,
    share: float = 0.0,
    shadow: bool = False,
    rule: Rule | None = None,
    reason: str = "",
    expected_current: int | Literal["none", "any"] = "any",
) -> Call[RolloutOut]:
    """Try a version on a share of the users, in the shadow, or both; or change how it is tried.

    Refused unless `expected_current` is the challenger now; "none": unless there is none.
    """
    asked: Mapping[str, Any] = {
        "version": version,
        "share": share,
        "shadow": shadow,
        "rule": rule,
        "reason": reason,
    }
    if expected_current != "any":  # null means something: that there is no challenger
        asked = {**asked, "expected_current": None if expected_current == "none" else expected_current}
    body = NewChallenger.model_validate(asked)
    return Call("PUT", _path(channel, "releases", "challenger"), one(RolloutOut), body)


def withdraw_challenger(channel: str, *, reason: str = "", expected_current: int | None = None) -> Call[None]:
    """Take the challenger back; the champion answers all users again."""
    query = {"reason": reason, "expected_current": expected_current}
    return Call("DELETE", _path(channel, "releases", "challenger"), nothing, query=query)


def rollout(channel: str) -> Call[RolloutOut]:
    """The challenger: how it is tried, its click-through rate beside the champion's, its shadow."""
    return Call("GET", _path(channel, "releases", "rollout"), one(RolloutOut))


def online(channel: str, since: datetime | None = None) -> Call[list[OnlineOut]]:
    """The click-through rate of each version, as champion and as challenger; by default of a day."""
    query = {"since": since.isoformat() if since else None}
    return Call("GET", _path(channel, "online"), many(OnlineOut), query=query)


def _path(channel: str, *parts: object) -> str:
    return at(ADMIN, "channels", channel, *parts)
