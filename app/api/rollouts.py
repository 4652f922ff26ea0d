"""Rollouts: a challenger beside the champion, and what users make of either."""

from datetime import timedelta
from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import AwareDatetime
from sqlalchemy.orm import Session

from app.api.audited import Audited
from app.api.deps import DatabaseDep, EngineDep, Operator, WakeDep
from app.api.schemas.base import Text
from app.api.schemas.rollouts import NewChallenger, OnlineOut, RateOut, RolloutOut, ShadowOut
from app.core.clock import now
from app.core.rollout import Plan
from app.store import aliases, online, releases, rollouts, rules
from app.store.aliases import ANY, CHALLENGER, Move
from app.store.channels import CHAMPION
from app.store.online import Rate

router = APIRouter(prefix="/v1/admin/channels/{channel}", tags=["releases"], route_class=Audited)
Version = Annotated[int, Query(ge=0, lt=2**31, description="Refuse unless this is the challenger now.")]


@router.put("/releases/challenger")
def set_challenger(
    body: NewChallenger, access: Operator, db: DatabaseDep, engine: EngineDep, wake: WakeDep
) -> RolloutOut:
    """Try a version on a share of the users, in the shadow, or both; or change how it is tried."""
    fingerprint = engine.backbones.get(access.channel.modality).fingerprint
    expected = body.expected_current if "expected_current" in body.model_fields_set else ANY
    with db.session() as s:
        aliases.check_fits(s, access.channel_id, body.version, fingerprint)
        rollouts.set_challenger(
            s,
            access.channel_id,
            body.version,
            Plan(share=body.share, shadow=body.shadow, rule=body.rule),
            actor=access.actor,
            reason=body.reason,
            expected_current=expected,
        )
    wake.releases(access.channel_id)
    with db.read() as s:
        return _rollout(s, access.channel_id)


@router.delete("/releases/challenger", status_code=204)
def withdraw_challenger(
    access: Operator,
    db: DatabaseDep,
    wake: WakeDep,
    reason: Text = "",
    expected_current: Version | None = None,
) -> None:
    """Take the challenger back; the champion answers all users again."""
    expected = ANY if expected_current is None else expected_current
    with db.session() as s:
        rollouts.withdraw(s, access.channel_id, Move("withdraw", access.actor, reason), expected)
    wake.releases(access.channel_id)


@router.get("/releases/rollout")
def get_rollout(access: Operator, db: DatabaseDep) -> RolloutOut:
    """Show the challenger: how it is tried, its click-through rate beside the champion's, its shadow."""
    with db.read() as s:
        return _rollout(s, access.channel_id)


@router.get("/online")
def get_online(access: Operator, db: DatabaseDep, since: AwareDatetime | None = None) -> list[OnlineOut]:
    """Show the click-through rate of each version, as champion and as challenger; by default of a day."""
    with db.read() as s:
        found = online.rates(s, access.channel_id, max(since or now() - timedelta(days=1), _oldest()))
    return [
        OnlineOut(version=version, variant=variant, **RateOut.model_validate(rate).model_dump())
        for (version, variant), rate in found.items()
    ]


def _oldest() -> AwareDatetime:
    return now() - online.KEPT


def _rollout(s: Session, channel_id: str) -> RolloutOut:
    found = rollouts.the_challenger(s, channel_id)
    rollout, version = found.rollout, found.release.version
    rates = online.rates(s, channel_id, rules.compared_since(s, found))
    champion = releases.champion(s, channel_id).version
    sides = {CHAMPION: rates.get((champion, CHAMPION)), CHALLENGER: rates.get((version, CHALLENGER))}
    return RolloutOut(
        version=version,
        share=rollout.share,
        shadow=rollout.shadow,
        rule=found.rule,
        started_at=rollout.started_at,
        started_by=rollout.started_by,
        online={side: RateOut.model_validate(rate or Rate()) for side, rate in sides.items()},
        compared=ShadowOut.model_validate(online.comparison(s, channel_id, version, rollout.started_at)),
    )
