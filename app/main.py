"""The application: what is started and stopped with it, and its routers."""

import gc
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

from fastapi import FastAPI
from starlette.concurrency import run_in_threadpool

from app.api import (
    adapters,
    channels,
    errors,
    health,
    images,
    imports,
    items,
    jobs,
    recommendations,
    releases,
    serving,
    tenants,
)
from app.api.bounds import Bounds
from app.api.schemas import PROBLEMS
from app.core import log as logs
from app.core.config import Settings, get_settings
from app.core.valkey import redis_url
from app.model.backbone import load_backbones
from app.model.device import pick_device
from app.serving.engine import Engine
from app.serving.swap import Swapper
from app.store.access import RememberedAccess
from app.store.db import Database
from app.store.histories import Histories
from app.store.tenants import ensure_operator_key
from app.store.wake import Wake

# Routes are tried in turn, so what is asked for most comes first.
ROUTERS = (
    health,
    recommendations,
    tenants,
    channels,
    imports,
    images,
    items,
    jobs,
    adapters,
    releases,
    serving,
)


def create_app(settings: Settings | None = None) -> FastAPI:
    """Build the application; nothing is opened or loaded before it starts."""
    settings = settings or get_settings()
    app = FastAPI(title="TransRec Serve", version="1", lifespan=_lifespan(settings), responses=PROBLEMS)
    app.add_middleware(Bounds)
    errors.install(app)
    for module in ROUTERS:
        app.include_router(module.router)
    return app


def app_factory() -> FastAPI:
    """For `uvicorn --factory app.main:app_factory`, with any number of workers."""
    settings = get_settings()
    logs.configure(settings.log_level)
    return create_app(settings)


def _lifespan(settings: Settings) -> Callable[[FastAPI], AbstractAsyncContextManager[None]]:
    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        swapper = await run_in_threadpool(_start, app, settings)
        try:
            yield
        finally:
            await app.state.histories.close()
            await run_in_threadpool(_stop, app, swapper)

    return lifespan


def _start(app: FastAPI, settings: Settings) -> Swapper:
    db = Database(settings.resolved_database_url)
    db.migrate()
    if settings.operator_key is not None:
        with db.session() as s:
            ensure_operator_key(s, settings.operator_key.get_secret_value())
    backbones = load_backbones(settings.backbone, settings.image_backbone, pick_device(settings.device))
    wake = Wake(redis_url(settings))
    engine, access = Engine(backbones, db, settings), RememberedAccess(db)
    app.state.settings, app.state.db, app.state.engine, app.state.wake = settings, db, engine, wake
    app.state.access, app.state.histories = access, Histories(db, redis_url(settings))
    engine.start()
    _calm()
    swapper = Swapper(engine, wake, access)
    swapper.start()
    return swapper


def _calm() -> None:
    """Keep Python itself out of the requests' way."""
    # What stays for good is never looked at again: a collection of all that torch brings stops every request
    # for a tenth of a second.
    gc.collect()
    gc.freeze()
    # So long does a thread that has an answer wait for a busy event loop, not 5 ms: a tenth more requests/s.
    sys.setswitchinterval(0.0003)


def _stop(app: FastAPI, swapper: Swapper) -> None:
    swapper.stop()
    app.state.wake.client.close()
    app.state.db.dispose()
