"""Channels, what they hold and do, and when they are trained again."""

from app.api.schemas.channels import ChannelDetail, ChannelOut, ChannelPatch, NewChannel
from app.api.schemas.jobs import NewJob
from app.api.schemas.overview import ChannelState, HourOut, OverviewOut
from app.api.schemas.rollouts import NewPolicy, PolicyOut
from app.api.schemas.statistics import StatisticsOut
from app.client.call import ADMIN, CHANNELS, Call, at, many, nothing, one
from app.core.names import Modality, Sort


def channels() -> Call[list[ChannelOut]]:
    """The tenant's channels by name."""
    return Call("GET", CHANNELS, many(ChannelOut))


def channel(name: str) -> Call[ChannelDetail]:
    """A channel: its counts, its champion and challenger, and what the server answers with."""
    return Call("GET", at(CHANNELS, name), one(ChannelDetail))


def overview(
    search: str = "", sort: Sort = "name", limit: int = 50, after: str | None = None
) -> Call[OverviewOut]:
    """Channels at a glance: health, accuracy, traffic; `after` an answer's `next`: the next page.

    A platform operator's client without a tenant sees all tenants' channels.
    """
    query = {"search": search, "sort": sort, "limit": limit, "after": after}
    return Call("GET", at(ADMIN, "overview"), one(OverviewOut), query=query)


def channel_overview(channel: str) -> Call[ChannelState]:
    """One channel as `overview` shows it."""
    return Call("GET", at(ADMIN, "channels", channel, "overview"), one(ChannelState))


def traffic(channel: str, hours: int = 24) -> Call[list[HourOut]]:
    """Recommendations and clicks of the last hours, oldest first; the last one ends now."""
    path = at(ADMIN, "channels", channel, "traffic")
    return Call("GET", path, many(HourOut), query={"hours": hours})


def statistics(channel: str) -> Call[StatisticsOut]:
    """How much data there is, since when, and how it is spread over users and items."""
    return Call("GET", at(CHANNELS, channel, "statistics"), one(StatisticsOut))


def create_channel(name: str, description: str = "", modality: Modality = "text") -> Call[ChannelOut]:
    """Create a channel; version 0, the bare backbone, answers for it."""
    body = NewChannel(name=name, description=description, modality=modality)
    return Call("POST", at(ADMIN, "channels"), one(ChannelOut), body)


def describe_channel(name: str, description: str) -> Call[ChannelOut]:
    """Change a channel's description."""
    body = ChannelPatch(description=description)
    return Call("PATCH", at(ADMIN, "channels", name), one(ChannelOut), body)


def delete_channel(name: str) -> Call[None]:
    """Delete a channel with all that is in it."""
    return Call("DELETE", at(ADMIN, "channels", name), nothing, query={"confirm": name})


def training_policy(channel: str) -> Call[PolicyOut]:
    """When the channel is trained again by itself."""
    return Call("GET", _policy(channel), one(PolicyOut))


def set_training_policy(
    channel: str,
    every_hours: float | None = None,
    after_interactions: int | None = None,
    job: NewJob | None = None,
) -> Call[PolicyOut]:
    """Train again every so often, after so many new interactions, or both."""
    body = NewPolicy(every_hours=every_hours, after_interactions=after_interactions, job=job or NewJob())
    return Call("PUT", _policy(channel), one(PolicyOut), body)


def delete_training_policy(channel: str) -> Call[None]:
    """Train by hand only."""
    return Call("DELETE", _policy(channel), nothing)


def _policy(channel: str) -> str:
    return at(ADMIN, "channels", channel, "training-policy")
