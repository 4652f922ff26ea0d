"""Health: is the process alive, can it answer."""

from fastapi import APIRouter, Request

from app.api.deps import DatabaseDep, EngineDep, WakeDep
from app.core.errors import Unavailable
from app.store.channels import generations

router = APIRouter(prefix="/health", tags=["health"])


@router.get("/live")
async def live() -> dict[str, str]:
    """Say that the process answers."""
    return {"status": "live"}


@router.get("/empty")
async def empty() -> dict[str, str]:
    """Answer with nothing: what a request costs before any work, for benchmarks."""
    return {}


@router.get("/ready")
def ready(request: Request, db: DatabaseDep, engine: EngineDep, wake: WakeDep) -> dict[str, object]:
    """Say that every channel's champion is loaded and every model runs; a 503 says why not, by `reason`.

    It is `draining`, `database`, `model` or `channels`: then `missing` names those that are still to come.
    Redis may be away: then releases follow at the next poll. `failing` names channels whose newest
    release could not be loaded: an older one goes on answering, or the channel answers 503.
    """
    if request.app.state.drain.draining:
        raise Unavailable("This server is draining: it ends soon. Ask another one.", reason="draining")
    redis = "reachable" if wake.ping() else "unreachable"
    try:
        with db.read() as s:
            known = generations(s)
    except Unavailable as error:
        raise Unavailable(error.message, reason="database", database="unreachable", redis=redis) from error
    failing = {channel_id: failure.reason for channel_id, failure in dict(engine.failures).items()}
    state: dict[str, object] = {"database": "reachable", "redis": redis, "failing": failing}
    away = [modality for modality, ranker in engine.rankers.items() if not ranker.running]
    if away:
        why = f"The process of a model is being started: {', '.join(away)}."
        raise Unavailable(why, 3, reason="model", **state)
    # A channel whose release is broken needs its operator; it must not take all others out of service.
    missing = sorted(known.keys() - engine.live.keys() - failing.keys())
    if missing:
        why = f"{len(missing)} channel(s) are not loaded yet."
        raise Unavailable(why, 2, reason="channels", missing=missing, **state)
    return {"status": "ready", "channels": len(known), "backbones": engine.backbones.fingerprints(), **state}
