"""Channels."""

from fastapi import APIRouter

from app.api.deps import DatabaseDep, EngineDep, OperatorScope, Reader, ReaderScope, WakeDep
from app.api.schemas import ChannelDetail, ChannelOut, IndexOut, NewChannel, ReleaseRef, Serving
from app.serving.engine import Engine
from app.serving.release import ZERO_SHOT
from app.store import catalog, channels, events, images, registry, releases
from app.store.db import Database
from app.store.tables import Channel

router = APIRouter(prefix="/v1", tags=["channels"])


@router.post("/admin/channels", status_code=201, response_model=ChannelOut)
def create_channel(
    body: NewChannel, db: DatabaseDep, engine: EngineDep, wake: WakeDep, scope: OperatorScope
) -> Channel:
    """Create a channel. Version 0, the bare backbone, answers for it at once."""
    backbone = engine.backbones.get(body.modality)
    with db.session() as s:
        channel = channels.create_channel(
            s, scope.tenant_id, body.name, body.description, backbone.fingerprint, body.modality
        )
    wake.releases(channel.id)
    return channel


@router.get("/channels", response_model=list[ChannelOut])
def list_channels(db: DatabaseDep, scope: ReaderScope) -> list[Channel]:
    """List the tenant's channels by name."""
    with db.read() as s:
        return list(channels.list_channels(s, scope.tenant_id))


@router.get("/channels/{channel}")
def get_channel(db: DatabaseDep, engine: EngineDep, access: Reader) -> ChannelDetail:
    """Show a channel: its counts, its champion, and what this process answers with."""
    return _detail(db, engine, access.channel)


def _detail(db: Database, engine: Engine, channel: Channel) -> ChannelDetail:
    with db.read() as s:
        version = releases.champion(s, channel.id).version
        method = registry.get_adapter(s, channel.id, version).method if version else ZERO_SHOT
        return ChannelDetail(
            **ChannelOut.model_validate(channel).model_dump(),
            items=catalog.count_items(s, channel.id),
            images=images.count_images(s, channel.id),
            interactions=events.count_interactions(s, channel.id),
            champion=ReleaseRef(version=version, method=method),
            serving=_serving(engine, channel.id),
        )


def _serving(engine: Engine, channel_id: str) -> Serving:
    release, failure = engine.live.get(channel_id), engine.failures.get(channel_id)
    return Serving(
        release=ReleaseRef.model_validate(release) if release else None,
        generation=release.generation if release else None,
        index=IndexOut(kind=release.facts.index, recall=release.facts.recall) if release else None,
        failure=failure.reason if failure else None,
    )
