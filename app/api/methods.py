"""The methods that a channel can be trained by."""

from fastapi import APIRouter

from app.api.deps import EngineDep, Operator
from app.api.schemas.jobs import MethodOut
from app.model.choices import Choice, choices

router = APIRouter(prefix="/v1/admin/channels/{channel}", tags=["training jobs"])


@router.get("/methods", response_model=list[MethodOut])
def list_methods(access: Operator, engine: EngineDep) -> tuple[Choice, ...]:
    """List the methods, their knobs with their ranges, and what each trains of this backbone."""
    return choices(engine.backbones.get(access.channel.modality).model)
