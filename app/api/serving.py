"""What serving holds in which tier, and how busy the model is, in the process that answers."""

from dataclasses import asdict

from fastapi import APIRouter

from app.api.deps import EngineDep, Platform, ShadowDep
from app.api.schemas.serving import ServingState

router = APIRouter(prefix="/v1/admin/serving", tags=["serving"])


@router.get("")
async def get_serving(engine: EngineDep, shadow: ShadowDep, _: Platform) -> ServingState:
    """Show the tiers and the queue of this process (platform operator)."""
    return ServingState.model_validate(engine.state() | {"shadow": asdict(shadow.counters)})
