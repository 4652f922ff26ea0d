"""Adapters: upload, list, download."""

from typing import Annotated

from fastapi import APIRouter, Path, Request, Response
from starlette.concurrency import run_in_threadpool

from app.api.audited import Audited
from app.api.deps import DatabaseDep, EngineDep, LimitsDep, Operator, SettingsDep
from app.api.schemas.releases import AdapterOut
from app.api.uploads import RAW_BODY, read_body
from app.serving.engine import Engine
from app.serving.upload import accept_adapter
from app.store import registry
from app.store.access import Access
from app.store.db import Database
from app.store.quotas import TenantLimits
from app.store.tables import Adapter

router = APIRouter(prefix="/v1/admin/channels/{channel}/adapters", tags=["adapters"], route_class=Audited)
SAFETENSORS = "application/vnd.safetensors"
Version = Annotated[int, Path(ge=1, lt=2**31)]  # the database's integers end there


@router.post("", status_code=201, response_model=AdapterOut, openapi_extra=RAW_BODY)
async def upload_adapter(
    request: Request,
    access: Operator,
    db: DatabaseDep,
    engine: EngineDep,
    settings: SettingsDep,
    limits: LimitsDep,
) -> Adapter:
    """Upload an adapter: safetensors whose metadata hold `method`, `config` and `backbone_fingerprint`.

    It is checked whole (names, shapes, values) and stored as a new version; promote it to use it.
    """
    data = await read_body(request, settings.max_adapter_bytes)
    return await run_in_threadpool(_store, db, engine, limits, access, data)


@router.get("", response_model=list[AdapterOut])
def list_adapters(access: Operator, db: DatabaseDep) -> list[Adapter]:
    """List the channel's adapters, newest first."""
    with db.read() as s:
        return list(registry.list_adapters(s, access.channel_id))


@router.get("/{version}", response_model=AdapterOut)
def get_adapter(version: Version, access: Operator, db: DatabaseDep) -> Adapter:
    """Show an adapter: what it is made of and what it measured."""
    with db.read() as s:
        return registry.get_adapter(s, access.channel_id, version)


@router.get("/{version}/weights", response_class=Response, responses={200: {"content": {SAFETENSORS: {}}}})
def download_adapter(version: Version, access: Operator, db: DatabaseDep) -> Response:
    """Download an adapter as safetensors that can be uploaded again."""
    with db.read() as s:
        adapter = registry.get_adapter(s, access.channel_id, version, with_weights=True)
    name = f"{access.channel.name}-v{version}.safetensors"
    headers = {"Content-Disposition": f'attachment; filename="{name}"', "ETag": f'"{adapter.sha256}"'}
    return Response(adapter.weights, media_type=SAFETENSORS, headers=headers)


def _store(db: Database, engine: Engine, limits: TenantLimits, access: Access, data: bytes) -> Adapter:
    backbone = engine.backbones.get(access.channel.modality)
    weights, config = accept_adapter(backbone, data)
    with db.session() as s:
        adapter = registry.register(
            s,
            access.channel_id,
            method=config.method,
            config=config.model_dump(exclude_none=True),
            weights=weights,
            backbone_fingerprint=backbone.fingerprint,
            metrics={},
            source="upload",
            actor=access.actor,
        )
        limits.check(s, access.tenant_id, "bytes")
    return adapter
