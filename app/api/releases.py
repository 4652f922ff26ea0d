"""Releases: which version is champion, promote, rollback, history."""

from fastapi import APIRouter
from sqlalchemy.orm import Session

from app.api.audited import Audited
from app.api.deps import DatabaseDep, EngineDep, Operator, WakeDep
from app.api.schemas.releases import MoveOut, Promotion, ReleaseOut, Rollback
from app.serving.release import ZERO_SHOT
from app.store import aliases, registry, releases
from app.store.aliases import ANY, CHALLENGER
from app.store.tables import AliasHistory, Channel, Release

router = APIRouter(prefix="/v1/admin/channels/{channel}/releases", tags=["releases"], route_class=Audited)


@router.get("")
def list_releases(access: Operator, db: DatabaseDep) -> list[ReleaseOut]:
    """List the versions, newest first; version 0 is the bare backbone."""
    with db.read() as s:
        return _releases(s, access.channel)


@router.post("/promote")
def promote(
    body: Promotion, access: Operator, db: DatabaseDep, engine: EngineDep, wake: WakeDep
) -> list[ReleaseOut]:
    """Make a version the champion; every process swaps to it without a pause. A challenger's rollout ends."""
    fingerprint = engine.backbones.get(access.channel.modality).fingerprint
    with db.session() as s:
        aliases.check_fits(s, access.channel_id, body.version, fingerprint)
        releases.promote(
            s,
            access.channel_id,
            body.version,
            actor=access.actor,
            reason=body.reason,
            expected_current=_expected(body.expected_current),
            guard=body.guard,
        )
    wake.releases(access.channel_id)
    with db.read() as s:
        return _releases(s, access.channel)


@router.post("/rollback")
def rollback(
    access: Operator, db: DatabaseDep, wake: WakeDep, body: Rollback | None = None
) -> list[ReleaseOut]:
    """Return to the champion before this one."""
    asked = body or Rollback()
    with db.session() as s:
        releases.rollback(
            s,
            access.channel_id,
            actor=access.actor,
            reason=asked.reason,
            expected_current=_expected(asked.expected_current),
        )
    wake.releases(access.channel_id)
    with db.read() as s:
        return _releases(s, access.channel)


@router.get("/history", response_model=list[MoveOut])
def get_history(access: Operator, db: DatabaseDep) -> list[AliasHistory]:
    """List every move of champion and challenger, oldest first: which, who, when, why."""
    with db.read() as s:
        return list(aliases.history(s, access.channel_id))


def _expected(version: int | None) -> int:
    return ANY if version is None else version


def _releases(s: Session, channel: Channel) -> list[ReleaseOut]:
    champion: Release = releases.champion(s, channel.id)
    trial = aliases.pointed_at(s, channel.id, CHALLENGER)
    challenger = trial.version if trial else None
    found = [
        ReleaseOut(
            version=adapter.version,
            method=adapter.method,
            champion=adapter.version == champion.version,
            challenger=adapter.version == challenger,
            source=adapter.source,
            metrics=adapter.metrics,
            created_at=adapter.created_at,
        )
        for adapter in registry.list_adapters(s, channel.id)
    ]
    bare = ReleaseOut(
        version=0,
        method=ZERO_SHOT,
        champion=champion.version == 0,
        challenger=challenger == 0,
        created_at=channel.created_at,
    )
    return [*found, bare]
