"""What a channel's data is like."""

from datetime import date, datetime

from pydantic import Field

from app.api.schemas.base import Answer


class PeriodOut(Answer):
    """A day, week, month, ... and the interactions of it."""

    start: date
    interactions: int


class BinOut(Answer):
    """How many users or items have from `least` to `most` interactions."""

    least: int
    most: int
    number: int


class FrequentOut(Answer):
    """An item that many interactions are of; the text's first 200 characters."""

    item_id: str
    text: str
    interactions: int


class CoverageOut(Answer):
    """How many items have an attribute."""

    name: str
    items: int


class StatisticsOut(Answer):
    """What a channel's data is like; shares are from 0 to 1, null while there are no interactions."""

    items: int
    interactions: int
    users: int
    first: datetime | None = Field(description="The oldest interaction's moment.")
    last: datetime | None = Field(description="The newest interaction's moment.")
    unit: str = Field(examples=["month"], description="day, week, month, quarter, year or decade.")
    periods: list[PeriodOut] = Field(description="At most 60, without gaps.")
    per_user: list[BinOut] = Field(description="Users by their interactions.")
    per_item: list[BinOut] = Field(description="Items by their interactions, without the cold ones.")
    cold: int = Field(description="Items without interactions.")
    top_1: float | None = Field(description="Share of the interactions that the top 1 % of the items has.")
    top_10: float | None = Field(description="The same of the top 10 %.")
    frequent: list[FrequentOut]
    attributes: list[CoverageOut] = Field(description="The 100 that most items have.")
