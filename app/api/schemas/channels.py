"""Channels."""

from datetime import datetime

from pydantic import Field

from app.api.schemas.base import Answer, Body, Name, Text
from app.api.schemas.releases import ReleaseRef
from app.core.names import Modality


class NewChannel(Body):
    """A channel to create."""

    name: Name
    description: Text = ""
    modality: Modality = Field("text", description="What of an item is encoded; it cannot be changed later.")


class ChannelPatch(Body):
    """What to change of a channel."""

    description: Text


class ChannelOut(Answer):
    """A channel."""

    id: str
    name: str
    description: str
    modality: Modality
    generation: int
    created_at: datetime


class IndexOut(Answer):
    """How a release's items are searched; `recall` is its recall@10 against exact search, measured."""

    kind: str = Field(examples=["flat"])
    recall: float = Field(examples=[1.0])


class Serving(Answer):
    """What this process answers with, and why a newer release is not loaded, if so."""

    release: ReleaseRef | None
    generation: int | None
    index: IndexOut | None
    failure: str | None
    challenger: ReleaseRef | None
    challenger_failure: str | None


class ChallengerRef(ReleaseRef):
    """A release on trial, on a share of the users or in the shadow."""

    share: float = Field(examples=[0.05])
    shadow: bool


class ChannelDetail(ChannelOut):
    """A channel with its counts, its champion and its challenger, if any."""

    items: int
    images: int
    interactions: int
    champion: ReleaseRef
    challenger: ChallengerRef | None
    serving: Serving
