"""Every channel at a glance, and one channel's traffic."""

from collections import Counter
from typing import Annotated

from fastapi import APIRouter, Query

from app.api.deps import AnyOperator, DatabaseDep, Operator, OverviewDep
from app.api.schemas.channels import ChallengerRef
from app.api.schemas.overview import ChannelState, HourOut, LatencyOut, OverviewOut, Summary
from app.api.schemas.releases import ReleaseRef
from app.api.schemas.rollouts import RateOut
from app.core import metrics
from app.core.clock import now
from app.core.errors import NotFound
from app.core.names import Sort
from app.serving.overview import HEALTHS, Overview, State, Traffic, in_order, matching
from app.serving.release import ZERO_SHOT
from app.store import online
from app.store.jobs import OPEN
from app.store.online import Rate
from app.store.scope import scope_for
from app.store.tenants import Role

router = APIRouter(prefix="/v1/admin", tags=["channels"])
RECOMMENDATIONS = "/v1/channels/{channel}/recommendations"


@router.get("/overview")
def get_overview(
    db: DatabaseDep,
    overview: OverviewDep,
    who: AnyOperator,
    tenant: Annotated[str | None, Query(description="A tenant's name; by default all.")] = None,
    search: Annotated[
        str, Query(max_length=200, description="Words, each in a name, a description, a method or a health.")
    ] = "",
    sort: Sort = "name",
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
    after: Annotated[str | None, Query(description="A channel's id: those behind it.")] = None,
) -> OverviewOut:
    """Show channels: health, champion, accuracy and traffic; the platform's operator sees all tenants."""
    with db.read() as s:
        narrow = who.tenant_id is not None or tenant is not None
        tenant_id = scope_for(s, who, tenant, Role.OPERATOR).tenant_id if narrow else None
    states = overview.states(tenant_id)
    found = in_order(matching(states, search), sort)
    start = _behind(found, after)
    page = found[start : start + limit]
    traffic = overview.traffic([state.glance.id for state in page])
    return OverviewOut(
        summary=_summary(states),
        found=len(found),
        channels=[_shown(state, traffic[state.glance.id]) for state in page],
        next=page[-1].glance.id if start + limit < len(found) else None,
    )


@router.get("/channels/{channel}/overview")
def get_channel_overview(access: Operator, overview: OverviewDep) -> ChannelState:
    """Show one channel as the overview does."""
    return _shown(*_one(overview, access.channel_id))


@router.get("/channels/{channel}/traffic")
def get_traffic(
    access: Operator, db: DatabaseDep, hours: Annotated[int, Query(ge=1, le=168)] = 24
) -> list[HourOut]:
    """Show recommendations and clicks of the last hours, oldest first; the last one ends now."""
    at = now()
    with db.read() as s:
        rates = online.hourly_rates(s, access.channel_id, at, hours)
    champion, challenger = (rates.get(variant, [Rate()] * hours) for variant in ("champion", "challenger"))
    return [
        HourOut(
            at=online.hour_start(at, hours - n),
            champion=RateOut.model_validate(champion[n]),
            challenger=RateOut.model_validate(challenger[n]),
        )
        for n in range(hours)
    ]


def _one(overview: Overview, channel_id: str) -> tuple[State, Traffic]:
    found = overview.states(channel_id=channel_id)
    if not found:
        raise NotFound("The channel is gone. List the channels to see what there is.")
    return found[0], overview.traffic([channel_id])[channel_id]


def _behind(states: list[State], after: str | None) -> int:
    if after is None:
        return 0
    where = next((n for n, state in enumerate(states) if state.glance.id == after), None)
    if where is None:
        raise NotFound(f"There is no channel {after[:80]!r} in this list any more. Begin without `after`.")
    return where + 1


def _summary(states: list[State]) -> Summary:
    latency = metrics.latency("POST", RECOMMENDATIONS)
    return Summary(
        channels=len(states),
        ready=sum(state.serving.generation is not None and state.tally.items > 0 for state in states),
        health=dict.fromkeys(HEALTHS, 0) | Counter(state.health for state in states),
        jobs_open=sum(state.job is not None and state.job.state in OPEN for state in states),
        recommendations_hour=sum(state.recommendations for state in states),
        latency=LatencyOut(requests=latency.count, p50_ms=latency.ms(0.5), p99_ms=latency.ms(0.99)),
    )


def _shown(state: State, traffic: Traffic) -> ChannelState:
    glance = state.glance
    return ChannelState.model_validate(
        {
            **{name: getattr(glance, name) for name in _OF_GLANCE},
            **{name: getattr(state, name) for name in _OF_STATE},
            "items": state.tally.items,
            "interactions": state.tally.interactions,
            "champion": ReleaseRef(version=glance.champion_version, method=state.champion_method),
            "challenger": _challenger(state),
            "recommendations_hour": state.recommendations,
            "day": traffic.total,
            "hourly": traffic.hourly,
        }
    )


_OF_GLANCE = ("id", "tenant", "name", "description", "modality", "created_at")
_OF_STATE = ("changed_at", "health", "reason", "scores", "serving", "last_import", "job")


def _challenger(state: State) -> ChallengerRef | None:
    glance = state.glance
    if glance.challenger_version is None or glance.share is None:
        return None
    return ChallengerRef(
        version=glance.challenger_version,
        method=glance.challenger_method or ZERO_SHOT,
        share=glance.share,
        shadow=bool(glance.shadow),
    )
