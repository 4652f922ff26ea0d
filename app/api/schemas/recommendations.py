"""Recommendations and similar items."""

from typing import Annotated, Any, Literal, Self

from pydantic import Field, StrictBool, model_validator

from app.api.schemas.base import Answer, Body, ItemId, Problem, UserId
from app.api.schemas.releases import ReleaseRef
from app.core.attribution import Variant
from app.serving.filters import LONGEST, Filter

MOST_REQUESTS = 100
AtMost = Annotated[
    dict[Annotated[str, Field(max_length=LONGEST)], Annotated[int, Field(ge=1, strict=True)]],
    Field(max_length=2, examples=[{"brand": 2}]),
]


class RecommendationRequest(Body):
    """Whom to recommend to: a user whose interactions were imported, or a history, oldest first."""

    user_id: UserId | None = None
    history: list[ItemId] | None = Field(None, examples=[["item-1", "item-2"]])
    count: int = Field(10, ge=1)
    exclude_item_ids: list[ItemId] = Field(default_factory=list)
    exclude_seen: bool = Field(True, description="Leave out what is in the history.")
    filter: Filter = Field(default_factory=dict, description="What the items' attributes must be.")
    at_most: AtMost = Field(
        default_factory=dict, description="How many items of one value of an attribute an answer may have."
    )
    paged: StrictBool = Field(False, description="Whether `next` is to go on from the answer.")

    @model_validator(mode="after")
    def _one_of_two(self) -> Self:
        if (self.user_id is None) == (self.history is None):
            raise ValueError("send exactly one of user_id and history")
        return self


class PreviewRequest(RecommendationRequest):
    """A question to a release of one's choice; by default to the champion."""

    variant: Variant | None = None
    version: int | None = Field(None, ge=0, lt=2**31, description="A version in place of a variant.")

    @model_validator(mode="after")
    def _one_release(self) -> Self:
        if self.variant is not None and self.version is not None:
            raise ValueError("send at most one of variant and version")
        if self.paged:
            raise ValueError("a preview is not kept: for its next page, exclude what it has shown")
        return self


class NextRequest(Body):
    """How many items the next page is to have; as many as the one before unless it is said."""

    count: int | None = Field(None, ge=1)


class BatchRequest(Body):
    """Requests for recommendations; one that is wrong spoils no other."""

    requests: list[Any] = Field(
        min_length=1,
        max_length=MOST_REQUESTS,
        description="Each as the body of a single recommendation.",
        examples=[[{"user_id": "user-1"}, {"history": ["item-1"], "count": 5}]],
    )


class RecommendedOut(Answer):
    """A recommended item; `reason` says what ranked it."""

    item_id: str
    score: float
    reason: str = Field(examples=["model", "cold_start"])
    metadata: dict[str, Any]


class RecommendationOut(Answer):
    """Recommendations, all from the one release that is named."""

    recommendation_id: str
    release: ReleaseRef
    variant: str = "champion"
    paged: bool = Field(False, description="Whether `next` can go on from this answer.")
    items: list[RecommendedOut]


class PreviewOut(Answer):
    """What a release would answer. It counts for no figure of the channel, and no event can refer to it."""

    release: ReleaseRef
    variant: Variant | None = Field(description="Null: it is neither champion nor challenger now.")
    up_to_date: bool = Field(
        description="Whether it knows the catalogue and the interactions that the champion knows."
    )
    milliseconds: float = Field(description="From the question to the answer, the wait for the model in it.")
    items: list[RecommendedOut]


class AnsweredOut(Answer):
    """An entry of a batch that was answered."""

    status: Literal[200]
    recommendation: RecommendationOut


class RefusedOut(Answer):
    """An entry of a batch that was not answered, and what to do about it."""

    status: int = Field(ge=400, le=599)
    problem: Problem


class BatchOut(Answer):
    """One outcome an entry, in order."""

    results: list[AnsweredOut | RefusedOut]


class SimilarOut(Answer):
    """Similar items, all from the one release that is named."""

    release: ReleaseRef
    items: list[RecommendedOut]
