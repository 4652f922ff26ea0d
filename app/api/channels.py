"""Channels."""

from dataclasses import asdict

from fastapi import APIRouter
from sqlalchemy.orm import Session

from app.api.audited import Audited
from app.api.deps import (
    DatabaseDep,
    EngineDep,
    LimitsDep,
    Operator,
    OperatorScope,
    OverviewDep,
    Reader,
    ReaderScope,
    RememberedDep,
    WakeDep,
)
from app.api.limits import Confirmation, confirmed
from app.api.schemas.channels import (
    ChallengerRef,
    ChannelDetail,
    ChannelOut,
    ChannelPatch,
    IndexOut,
    NewChannel,
    Serving,
)
from app.api.schemas.releases import ReleaseRef
from app.serving.engine import Engine
from app.serving.release import ZERO_SHOT
from app.store import channels, registry, releases, rollouts
from app.store.db import Database
from app.store.tables import Channel
from app.store.tallies import Tallies

router = APIRouter(prefix="/v1", tags=["channels"], route_class=Audited)


@router.post("/admin/channels", status_code=201, response_model=ChannelOut)
def create_channel(
    body: NewChannel,
    db: DatabaseDep,
    engine: EngineDep,
    wake: WakeDep,
    scope: OperatorScope,
    limits: LimitsDep,
) -> Channel:
    """Create a channel. Version 0, the bare backbone, answers for it at once."""
    backbone = engine.backbones.get(body.modality)
    with db.session() as s:
        channel = channels.create_channel(
            s, scope.tenant_id, body.name, body.description, backbone.fingerprint, body.modality
        )
        limits.check(s, scope.tenant_id, "channels")
    wake.releases(channel.id)
    return channel


@router.patch("/admin/channels/{channel}", response_model=ChannelOut)
def patch_channel(body: ChannelPatch, access: Operator, db: DatabaseDep) -> Channel:
    """Change a channel's description. Nothing is served anew for it; its name and its modality stay."""
    with db.session() as s:
        return channels.describe_channel(s, access.channel_id, body.description)


@router.delete("/admin/channels/{channel}", status_code=204)
def delete_channel(
    confirm: Confirmation, access: Operator, db: DatabaseDep, remembered: RememberedDep, wake: WakeDep
) -> None:
    """Delete a channel with all that is in it; `confirm` repeats its name."""
    confirmed(confirm, access.channel.name)
    with db.session() as s:
        channels.delete_channel(s, access.channel_id)
    remembered.forget()
    wake.releases(access.channel_id)


@router.get("/channels", response_model=list[ChannelOut])
def list_channels(db: DatabaseDep, scope: ReaderScope) -> list[Channel]:
    """List the tenant's channels by name."""
    with db.read() as s:
        return list(channels.list_channels(s, scope.tenant_id))


@router.get("/channels/{channel}")
def get_channel(db: DatabaseDep, engine: EngineDep, overview: OverviewDep, access: Reader) -> ChannelDetail:
    """Show a channel: its counts, its champion, and what this process answers with."""
    return _detail(db, engine, overview.tallies, access.channel)


def _detail(db: Database, engine: Engine, tallies: Tallies, channel: Channel) -> ChannelDetail:
    with db.read() as s:
        champion = _ref(s, channel.id, releases.champion(s, channel.id).version)
        return ChannelDetail(
            **ChannelOut.model_validate(channel).model_dump(),
            **asdict(tallies.of(s, [channel.id])[channel.id]),
            champion=champion,
            challenger=_challenger(s, channel.id),
            serving=_serving(engine, channel.id),
        )


def _ref(s: Session, channel_id: str, version: int) -> ReleaseRef:
    method = registry.get_adapter(s, channel_id, version).method if version else ZERO_SHOT
    return ReleaseRef(version=version, method=method)


def _challenger(s: Session, channel_id: str) -> ChallengerRef | None:
    found = rollouts.challenger(s, channel_id)
    if found is None:
        return None
    ref = _ref(s, channel_id, found.release.version)
    return ChallengerRef(**ref.model_dump(), share=found.rollout.share, shadow=found.rollout.shadow)


def _serving(engine: Engine, channel_id: str) -> Serving:
    release, failure = engine.live.get(channel_id), engine.failures.get(channel_id)
    trial = engine.challengers.live.get(channel_id)
    trial_failure = engine.challengers.failures.get(channel_id)
    return Serving(
        release=ReleaseRef.model_validate(release) if release else None,
        generation=release.generation if release else None,
        index=IndexOut(kind=release.facts.index, recall=release.facts.recall) if release else None,
        failure=failure.reason if failure else None,
        challenger=ReleaseRef.model_validate(trial.release) if trial else None,
        challenger_failure=trial_failure.reason if trial_failure else None,
    )
