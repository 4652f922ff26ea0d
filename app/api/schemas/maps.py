"""Items as a map."""

from pydantic import Field

from app.api.schemas.base import Answer
from app.api.schemas.releases import ReleaseRef


class PointOut(Answer):
    """An item on the map."""

    item_id: str
    x: float
    y: float
    title: str = Field(description="The first 200 characters of its text.")
    group: str
    interactions: int


class GroupOut(Answer):
    """Items of the map that belong together, and how many."""

    name: str
    items: int


class MapOut(Answer):
    """A 2-D projection of a release's item vectors."""

    release: ReleaseRef
    items: int = Field(description="Of the release; the map shows a sample of them.")
    shares: tuple[float, float] = Field(description="Share of the sample's variance that each axis keeps.")
    by: str | None = Field(description="The attribute that groups the items; null: by interactions.")
    attributes: list[str] = Field(description="What `by` can be.")
    groups: list[GroupOut]
    points: list[PointOut]
