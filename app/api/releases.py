"""Releases: which version is champion, promote, rollback, history."""

from typing import Any

from fastapi import APIRouter
from sqlalchemy.orm import Session

from app.api.audited import Audited
from app.api.deps import DatabaseDep, EngineDep, Operator, WakeDep
from app.api.schemas.releases import MoveOut, Promotion, ReleaseOut, Rollback
from app.model.backbone import Backbone
from app.model.choices import trainable
from app.model.methods import AdapterConfig
from app.serving.release import ZERO_SHOT
from app.store import aliases, registry, releases
from app.store.aliases import ANY, CHALLENGER
from app.store.tables import Adapter, AliasHistory, Channel, Release

router = APIRouter(prefix="/v1/admin/channels/{channel}/releases", tags=["releases"], route_class=Audited)


@router.get("")
def list_releases(access: Operator, db: DatabaseDep, engine: EngineDep) -> list[ReleaseOut]:
    """List the versions, newest first; version 0 is the bare backbone."""
    with db.read() as s:
        return _releases(s, access.channel, engine.backbones.get(access.channel.modality))


@router.post("/promote")
def promote(
    body: Promotion, access: Operator, db: DatabaseDep, engine: EngineDep, wake: WakeDep
) -> list[ReleaseOut]:
    """Make a version the champion; every process swaps to it without a pause. A challenger's rollout ends."""
    backbone = engine.backbones.get(access.channel.modality)
    with db.session() as s:
        aliases.check_fits(s, access.channel_id, body.version, backbone.fingerprint)
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
        return _releases(s, access.channel, backbone)


@router.post("/rollback")
def rollback(
    access: Operator, db: DatabaseDep, engine: EngineDep, wake: WakeDep, body: Rollback | None = None
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
        return _releases(s, access.channel, engine.backbones.get(access.channel.modality))


@router.get("/history", response_model=list[MoveOut])
def get_history(access: Operator, db: DatabaseDep) -> list[AliasHistory]:
    """List every move of champion and challenger, oldest first: which, who, when, why."""
    with db.read() as s:
        return list(aliases.history(s, access.channel_id))


def _expected(version: int | None) -> int:
    return ANY if version is None else version


def _releases(s: Session, channel: Channel, backbone: Backbone) -> list[ReleaseOut]:
    champion: Release = releases.champion(s, channel.id)
    trial = aliases.pointed_at(s, channel.id, CHALLENGER)
    challenger, before = trial and trial.version, releases.version_before(s, channel.id, champion.version)
    sizes = registry.sizes(s, channel.id)

    def release(version: int, method: str, **more: Any) -> ReleaseOut:
        return ReleaseOut(
            version=version,
            method=method,
            champion=version == champion.version,
            challenger=version == challenger,
            previous=version == before,
            **more,
        )

    found = [
        release(
            adapter.version,
            adapter.method,
            fits=adapter.backbone_fingerprint == backbone.fingerprint,
            source=adapter.source,
            config=adapter.config,
            metrics=adapter.metrics,
            trainable=_trainable(adapter, backbone),
            bytes=sizes[adapter.version],
            job_id=adapter.job_id,
            created_at=adapter.created_at,
            created_by=adapter.created_by,
        )
        for adapter in registry.list_adapters(s, channel.id)
    ]
    return [*found, release(0, ZERO_SHOT, created_at=channel.created_at)]


def _trainable(adapter: Adapter, backbone: Backbone) -> int | None:
    if adapter.backbone_fingerprint != backbone.fingerprint:
        return None
    return trainable(backbone.model, AdapterConfig.model_validate(adapter.config))
