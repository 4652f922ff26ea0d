"""What serving holds in which tier, and how busy the model is, in the process that answers."""

from dataclasses import asdict
from importlib import metadata

from fastapi import APIRouter

from app.api.deps import DatabaseDep, EngineDep, Platform, ShadowDep
from app.api.schemas.serving import ServingState
from app.core.clock import now
from app.model.device import device_name, pick_device

STARTED = now()
router = APIRouter(prefix="/v1/admin/serving", tags=["serving"])


@router.get("")
async def get_serving(engine: EngineDep, shadow: ShadowDep, db: DatabaseDep, _: Platform) -> ServingState:
    """Show the tiers, the queue and the memory of this process (platform operator)."""
    process = {
        "version": metadata.version("transrec-serve"),
        "started_at": STARTED,
        "database": "sqlite" if db.is_sqlite else "postgresql",
        "device_name": device_name(pick_device(engine.settings.device)),
        "memory": engine.memory(),
        "gpu": engine.gpu(),
        "budgets": {
            "device": engine.settings.device_adapter_bytes,
            "host": engine.settings.resolved_host_bytes,
        },
    }
    return ServingState.model_validate(process | engine.state() | {"shadow": asdict(shadow.counters)})
